package jail

import (
	"os"
	"testing"
)

// roles are what the test binary does instead of testing, by its first argument. It plays openshell-vmm,
// and programs in a jail.
var roles = map[string]func(args []string){"jail": Main}

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if role, ok := roles[os.Args[1]]; ok {
			role(os.Args[2:])
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}
