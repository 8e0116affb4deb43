package peer

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// listen makes a socket in its own directory and serves it.
func listen(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	if err := os.Chmod(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return path
}

func TestDial(t *testing.T) {
	path := listen(t)
	conn, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if cred, err := Of(conn); err != nil || int(cred.Pid) != os.Getpid() {
		t.Errorf("%+v, %v", cred, err)
	}
	if _, err := Dial(t.Context(), path+"x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no socket: %v", err)
	}
	if _, err := Dial(t.Context(), filepath.Join(filepath.Dir(path), "no/s")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	for mode, ok := range map[fs.FileMode]bool{0o700: true, 0o755: true, 0o770: false, 0o777: false} {
		if err := os.Chmod(filepath.Dir(path), mode); err != nil {
			t.Fatal(err)
		}
		conn, err := Dial(t.Context(), path)
		if conn != nil {
			conn.Close()
		}
		if (err == nil) != ok || err != nil && !errors.Is(err, ErrForeign) {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
}

func TestTrusted(t *testing.T) {
	me := uint32(os.Geteuid())
	for uid, ok := range map[uint32]bool{0: true, me: true, me + 7: true, me + 1: false, 65534: false} {
		if Trusted(uid, me+7) != ok {
			t.Errorf("uid %d", uid)
		}
	}
}
