package trees

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// Listen makes a socket until the test's end. A path that is too long for a socket will do.
func Listen(t testing.TB, path string) *net.UnixListener {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: shortName(t, path), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// shortName is another path of a file to be made, since a socket's must be short.
func shortName(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(name))
}
