package jail

import (
	"os"
	"testing"
)

// TestMain lets the test binary stand in for openshell-vmm, and for the program
// in the jail.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "jail":
			Main(os.Args[2:])
		}
	}
	os.Exit(m.Run())
}
