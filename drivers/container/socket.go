package container

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// FirstListening is the first of the sockets that something listens on, else
// the first.
func FirstListening(sockets ...string) string {
	for _, path := range sockets {
		if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
			conn.Close()
			return path
		}
	}
	return sockets[0]
}

// UserSocket is where a rootless engine of this user has the socket name.
func UserSocket(name string) string {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		dir = "/run/user/" + strconv.Itoa(os.Getuid())
	}
	return filepath.Join(dir, name)
}
