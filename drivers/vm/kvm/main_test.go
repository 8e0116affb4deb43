package kvm

import (
	"os"
	"testing"
)

// TestMain lets the test binary play openshell-vmm.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "probe-kvm" {
		Main()
	}
	os.Exit(m.Run())
}
