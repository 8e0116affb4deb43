package main

import (
	"testing"

	"openshell-vm/drivers/vm/guest"
)

// TestAuthMode checks who may read the share. A spec of version 1 without a TokenUser means
// the workload's user alone.
func TestAuthMode(t *testing.T) {
	for want, specs := range map[string][]guest.BootSpec{
		"0755": {{Version: 2}},
		"0700": {{Version: 2, TokenUser: "jo"}, {Version: 1}, {Version: 1, TokenUser: "jo"}},
	} {
		for _, spec := range specs {
			if got := ownMode(spec); got != want {
				t.Errorf("version %d, TokenUser %q: %s, wanted %s", spec.Version, spec.TokenUser, got, want)
			}
		}
	}
}
