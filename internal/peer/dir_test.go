package peer

import (
	"os"
	"strings"
	"testing"
)

func TestSocketsTakeLongPaths(t *testing.T) {
	const name = "a.sock"
	dir := t.TempDir() + "/" + strings.Repeat("d", 200)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := ListenIn(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	l, err = ListenIn(dir, name) // in place of the stale one
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := DialIn(t.Context(), dir, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(c); err != nil {
		t.Errorf("this user is refused: %v", err)
	}
	c.Close()
}
