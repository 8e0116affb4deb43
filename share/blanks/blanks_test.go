package blanks

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestReserveIsChecked checks that a reserve takes over only whole files of an earlier
// process.
func TestReserveIsChecked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "reserve")
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Keep(6); err != nil {
		t.Skip("no room can be set aside here:", err)
	}
	blank := func(i int) string { return filepath.Join(path, fmt.Sprintf(blankForm, i)) }
	for _, err := range []error{
		os.Remove(filepath.Join(blank(1), Files[0])),
		os.WriteFile(filepath.Join(blank(2), Files[0]), []byte("x"), 0o600),
		errors.Join(os.Remove(filepath.Join(blank(3), Files[1])), os.WriteFile(filepath.Join(blank(3), Files[1]), nil, 0o600)),
		os.WriteFile(filepath.Join(blank(4), "more"), nil, 0o600),
		os.Mkdir(filepath.Join(path, "other"), 0o700),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	again, err := Open(path)
	if err != nil || again.Len() != 6 {
		t.Errorf("of six blanks %d count: %v", again.Len(), err)
	}
	taken := 0
	for again.Take(func(blank string) error { taken++; return os.RemoveAll(blank) }) == nil {
	}
	if left, _ := os.ReadDir(path); taken != 2 || again.Len() != 0 || len(left) != 0 {
		t.Errorf("of six blanks, four of them spoilt, %d are taken, %v are left", taken, left)
	}
	if err := again.Keep(3); err != nil || again.Len() != 3 || !isBlank(blank(7)) {
		t.Errorf("kept: %v, %d", err, again.Len())
	}
	if err := again.Keep(1); err != nil || again.Len() != 1 {
		t.Errorf("given back: %v, %d", err, again.Len())
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := again.Keep(2); err != nil || again.Len() != 2 || again.Take(os.RemoveAll) != nil {
		t.Errorf("removed by somebody: %v, %d", err, again.Len())
	}
	if left, err := os.ReadDir(path); len(left) != 1 || err != nil {
		t.Errorf("left: %v, %v", left, err)
	}
}
