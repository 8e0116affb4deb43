package gateway

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
)

// TestOtherGatewaysAreHidden: another state directory of the user is masked in a mount that
// contains it. A mount inside it is refused.
func TestOtherGatewaysAreHidden(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	other := filepath.Join(w.dir, "other")
	t.Setenv(api.EnvStateDir, other)
	second, err := state.Open()
	w.must(err)
	second.Close() // it is hidden while no gateway runs there, too
	t.Setenv(api.EnvStateDir, filepath.Join(w.dir, "state"))
	first, err := state.Open()
	w.must(err)
	defer first.Close()
	w.must(os.Mkdir(filepath.Join(other, "below"), 0o700))

	if _, err := drivers.Exposure(filepath.Join(other, "below"), first.Hidden()); err == nil || !strings.Contains(err.Error(), other) {
		t.Errorf("a directory in the other state directory: %v", err)
	}
	masks, err := drivers.Exposure(w.dir, first.Hidden())
	if err != nil || !strings.Contains(strings.Join(masks, " "), "other") || !strings.Contains(strings.Join(masks, " "), "run/"+second.ID) {
		t.Errorf("masks %q, %v", masks, err)
	}
	// What another user could have put there counts for nothing.
	w.must(os.Chmod(second.Runtime, 0o777))
	for _, dir := range first.Hidden() {
		if dir == other {
			t.Error("a link that anybody could have made is followed")
		}
	}
	w.must(os.Chmod(second.Runtime, 0o700))
}
