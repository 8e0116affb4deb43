package roster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"openshell-vm/gateway/state"
)

// CheckOrigin refuses a file of the host, or a program, from which nothing may get into a share: one
// of the gateway's own, such as a key, and one that a sandbox can write. It looks at the file
// system, and compares directories by device and inode.
func (r *Roster) CheckOrigin(path string) error {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	for _, p := range []string{path, real} { // a link that lies in a sandbox's reach is the sandbox's, too
		if err := r.checkPlace(filepath.Clean(p)); err != nil {
			return err
		}
	}
	return nil
}

func (r *Roster) checkPlace(path string) error {
	var above []os.FileInfo
	for dir := path; ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil {
			above = append(above, info)
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	inside := func(dir string) bool {
		info, err := os.Stat(dir)
		if err != nil {
			return false
		}
		for _, a := range above {
			if os.SameFile(a, info) {
				return true
			}
		}
		return false
	}
	for _, dir := range []string{r.Home.State, r.Home.Runtime} {
		if inside(dir) {
			return errors.New("it is in the gateway's own directory " + dir)
		}
	}
	for _, it := range r.All() {
		if err := writtenBy(it.Rec(), inside); err != nil {
			return err
		}
	}
	return nil
}

// writtenBy returns an error if the sandbox can write to a directory that has the file.
func writtenBy(record *state.Record, inside func(dir string) bool) error {
	for _, m := range record.Request.Mounts {
		if m.Writable && m.Source != "" && inside(m.Source) {
			return fmt.Errorf("the sandbox %s can write it, by its mount of %s", record.Name, m.Source)
		}
	}
	return nil
}
