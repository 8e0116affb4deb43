package state

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"openshell-vm/gateway/api"
)

// TestOtherGatewaysAreHidden checks that the directories of other gateways are hidden,
// also while those do not run.
func TestOtherGatewaysAreHidden(t *testing.T) {
	first := open(t)
	other := filepath.Join(filepath.Dir(first.State), "other")
	t.Setenv(api.EnvStateDir, other)
	second, err := Open()
	must(t, err)
	second.Close()
	for _, dir := range []string{first.State, first.Runtime, other, second.Runtime} {
		if !slices.Contains(first.Hidden(), dir) {
			t.Errorf("%s is not hidden, but %q", dir, first.Hidden())
		}
	}
	// A directory to which another user can write does not count.
	must(t, os.Chmod(second.Runtime, 0o777))
	if slices.Contains(first.Hidden(), other) {
		t.Error("a link that anybody could have made is followed")
	}
	must(t, os.Chmod(second.Runtime, 0o700))
}
