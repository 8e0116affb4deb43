package state

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"openshell-vm/drivers"
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
	// A sandbox that writes to the directory above the cache would write every later VM's root.
	parent, err := drivers.NewWritable(filepath.Dir(first.Cache()), "/w", "")
	must(t, err)
	if _, err := os.Stat(first.Cache()); err != nil {
		t.Errorf("the cache is not there before its first use: %v", err)
	}
	auth, err := drivers.NewMount(filepath.Join(first.State, "shares"), drivers.AuthDir)
	must(t, err)
	if trees, err := drivers.JudgeWritable(drivers.Spec{Auth: auth, Writable: []drivers.Writable{parent}, Hidden: first.Hidden()}); err == nil {
		t.Errorf("the directory above the cache may be written to: %+v", trees)
	}
	// A directory to which another user can write does not count.
	must(t, os.Chmod(second.Runtime, 0o777))
	if slices.Contains(first.Hidden(), other) {
		t.Error("a link that anybody could have made is followed")
	}
	must(t, os.Chmod(second.Runtime, 0o700))
}
