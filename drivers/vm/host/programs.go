package host

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/jail"
)

// Program is a program of the host with the files that it loads.
type Program struct {
	Path  string      `json:"path"`
	Files []jail.Bind `json:"files"`
}

// Cache remembers what was found out about programs, until their files change. The zero
// value is empty. It is safe for concurrent use.
type Cache[T any] struct {
	mu    sync.Mutex
	known map[string]known[T]
}

type known[T any] struct {
	size    int64
	changed time.Time
	what    T
}

// Find returns what is known of the program at path. If nothing is known it calls learn,
// under a lock. It does not remember an error.
func (c *Cache[T]) Find(path string, learn func() (T, error)) (T, error) {
	info, err := os.Stat(path)
	if err != nil {
		var none T
		return none, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.known[path]
	if ok && k.size == info.Size() && k.changed.Equal(info.ModTime()) {
		return k.what, nil
	}
	k = known[T]{size: info.Size(), changed: info.ModTime()}
	if k.what, err = learn(); err != nil {
		var none T
		return none, err
	}
	if c.known == nil {
		c.known = map[string]known[T]{}
	}
	c.known[path] = k
	return k.what, nil
}

// FindProgram returns the first of places with an executable file, links resolved. It
// looks up a place without a slash in PATH. what and pkg, the Debian package, are for the
// error.
func FindProgram(what string, places []string, pkg string) (string, error) {
	for _, place := range places {
		path, err := exec.LookPath(place)
		if err != nil {
			continue
		}
		if path, err = filepath.Abs(path); err != nil {
			return "", err
		}
		return filepath.EvalSymlinks(path)
	}
	return "", &drivers.Error{
		Op:   "find " + what,
		Err:  fmt.Errorf("it is not installed (looked for %s)", strings.Join(places, ", ")),
		Hint: "install it (Debian: apt install " + pkg + ")",
	}
}

// Version returns the first line that a program prints for --version, or why there is
// none.
func Version(ctx context.Context, path string) string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "its version can't be told: " + err.Error()
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}

// findMkfs finds mkfs.ext4. It also looks in directories that are not in an ordinary
// user's PATH.
func findMkfs() (string, error) {
	return FindProgram("mkfs.ext4", []string{"mkfs.ext4", "/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4"}, "e2fsprogs, or use --ephemeral")
}
