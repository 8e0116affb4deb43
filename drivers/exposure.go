package drivers

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Exposure says how a directory that a sandbox is to see lies towards the
// hidden directories (state and runtime). A source inside one is an error. For
// each hidden directory inside the source it returns the path relative to
// the source, over which the driver puts an empty read-only directory.
//
// Directories are compared by device and inode, so a bind mount or a symlink
// on the way to one is seen through. A hidden directory that does not exist
// cannot be exposed and is passed over.
func Exposure(source string, hidden []string) (masks []string, err error) {
	real, err := filepath.EvalSymlinks(source)
	if err != nil {
		return nil, err
	}
	for _, h := range hidden {
		secret, err := identify(h)
		if os.IsNotExist(err) {
			continue
		} else if err != nil {
			return nil, err
		}
		for dir := real; ; dir = filepath.Dir(dir) {
			if id, err := identify(dir); err == nil && id == secret {
				return nil, &Error{
					Op:   fmt.Sprintf("expose %s", source),
					Err:  fmt.Errorf("it lies in %s, which holds keys and other sandboxes' tokens", h),
					Hint: "copy what the sandbox needs to another directory",
				}
			}
			if dir == "/" {
				break
			}
		}
		below, err := pathsBelow(real, h)
		if err != nil {
			return nil, err
		}
		masks = append(masks, below...)
	}
	return masks, nil
}

// inode identifies a directory on this host whatever path led to it.
type inode struct{ dev, ino uint64 }

func identify(path string) (inode, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return inode{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return inode{uint64(st.Dev), st.Ino}, nil
}

// pathsBelow finds where hidden shows below source, relative to it: by its own
// name, and through every mount below source whose root leads to it.
func pathsBelow(source, hidden string) ([]string, error) {
	real, err := filepath.EvalSymlinks(hidden)
	if err != nil {
		return nil, err
	}
	secret, err := identify(real)
	if err != nil {
		return nil, err
	}
	var below []string
	add := func(path string) {
		rel, err := filepath.Rel(source, path)
		if err == nil && rel != "." && !strings.HasPrefix(rel, "..") {
			if id, err := identify(path); err == nil && id == secret {
				below = append(below, rel)
			}
		}
	}
	// The source itself may be a bind mount of an ancestor of hidden, and so
	// may mounts below it: try hidden's path tail under each.
	points, err := mountPoints()
	if err != nil {
		return nil, err
	}
	candidates := map[string]bool{real: true}
	for _, base := range append(points, source) {
		if base != source && !strings.HasPrefix(base, strings.TrimSuffix(source, "/")+"/") {
			continue
		}
		tail := ""
		for dir := real; ; dir = filepath.Dir(dir) {
			candidates[filepath.Join(base, tail)] = true
			if dir == "/" {
				break
			}
			tail = filepath.Join(filepath.Base(dir), tail)
		}
	}
	for path := range candidates {
		add(path)
	}
	return below, nil
}

// mountPoints lists this process's mount points.
func mountPoints() ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var points []string
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 4 {
			points = append(points, unescape.Replace(f[4]))
		}
	}
	return points, nil
}
