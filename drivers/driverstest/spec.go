package driverstest

import (
	"strings"
	"testing"

	"openshell-vm/drivers"
)

// Mounts makes a spec's mounts of pairs, each a source on the host and its target. One
// that can't be made, because its source is not there, say, ends the test.
func Mounts(t testing.TB, pairs ...string) []drivers.Mount {
	t.Helper()
	var all []drivers.Mount
	for i := 0; i < len(pairs); i += 2 {
		m, err := drivers.NewMount(pairs[i], pairs[i+1])
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

// Refused checks an error that a user reads: one line with this text, and a hint.
func Refused(t testing.TB, err error, text string) {
	t.Helper()
	switch {
	case err == nil || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "\n"):
		t.Errorf("%v\nwant … %s", err, text)
	case drivers.HintOf(err) == "":
		t.Errorf("no hint with: %v", err)
	default:
		t.Logf("%v\n\thint: %s", err, drivers.HintOf(err))
	}
}
