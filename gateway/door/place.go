package door

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"openshell-vm/internal/atomicfile"
)

// Program is the name of the program beside the socket: cmd/openshell-token.
const Program = "openshell-token"

// Make makes a door's directory, if it is not there, with the program in it. The directory's
// parent is closed to other users; it is itself open, because the users inside go through it.
//
// The program is copied once for all doors beside each other, and then linked: a sandbox's own
// copy would cost megabytes. A door keeps the program that it was made with.
func (d *Doors) Make(dir string) error {
	if err := os.Mkdir(filepath.Dir(dir), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	err := os.Mkdir(dir, 0o755)
	if err == nil {
		err = os.Chmod(dir, 0o755) // whatever the umask is
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, err := os.Lstat(filepath.Join(dir, Program)); err == nil || d.program == "" {
		return nil
	}
	if err := d.link(dir); err != nil { // the socket is of use without it
		d.log.Warn("a sandbox has no program that asks for tokens", "directory", dir, "error", err)
	}
	return nil
}

func (d *Doors) link(dir string) error {
	info, err := os.Stat(d.program)
	if err != nil {
		return err
	}
	name := fmt.Sprintf(".%s-%x-%x", Program, info.ModTime().UnixNano(), info.Size())
	shared := filepath.Join(filepath.Dir(dir), name)
	if _, err := os.Lstat(shared); err != nil {
		sweep(filepath.Dir(dir))
		if err := install(d.program, shared); err != nil {
			return err
		}
	}
	return os.Link(shared, filepath.Join(dir, Program))
}

// sweep removes the programs of earlier versions, which sandboxes keep by their own links, and what
// a killed gateway left of a copy. What can't be removed is tried again with the next version.
func sweep(place string) {
	for _, pattern := range []string{"." + Program + "-*", temporary + "*"} {
		old, _ := filepath.Glob(filepath.Join(place, pattern))
		for _, name := range old {
			_ = os.Remove(name)
		}
	}
}

// temporary begins the name of a copy that is being made.
const temporary = ".new-"

// install copies a program, whole or not at all.
func install(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := atomicfile.Create(filepath.Join(filepath.Dir(to), temporary+"*"))
	if err != nil {
		return err
	}
	defer out.Discard()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	if err := out.Chmod(0o555); err != nil {
		return err
	}
	return out.Commit(to, atomicfile.Whole)
}
