// Package atomicfile replaces a file by a whole new one.
//
// What is promised: whoever opens the name gets all of the old content or all of the new,
// also if the writer was killed at any instruction. The Sync decides what a power cut
// leaves. Files have mode 0600, whatever the umask.
//
// What is not promised: that several files change together, or that one of two writers
// notices the other. The later rename wins. The temporary file of a killed writer stays
// until the next one of that name, or for ever if the name has a star.
//
// github.com/google/renameio does not fit. It does not sync the directory, so a power cut
// can bring the old file back after the write has returned. Its temporary names are random,
// so nobody finds what a killed writer left.
package atomicfile

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Sync says what a new file has to survive.
type Sync int

// Each promises also what those below it promise.
const (
	Durable  Sync = iota // after Commit, a power cut leaves the new content
	Whole                // a power cut leaves the old content or the new
	Volatile             // a power cut may leave anything: readers have to check the content
)

const mode = 0o600

// Variables so that tests can see these calls and make them fail.
var (
	syncFile = (*os.File).Sync
	rename   = os.Rename
	syncDir  = SyncDir
)

// Pending is a new file under its temporary name, until Commit or Discard. It is not safe
// for concurrent use.
type Pending struct {
	*os.File
	over bool
}

// Create begins a new file. temporary is its name until Commit, in the same directory as
// the final name. A star in temporary becomes something unique. Without a star, Create
// first removes what a killed writer may have left under that name.
func Create(temporary string) (*Pending, error) {
	var f *os.File
	var err error
	if strings.Contains(filepath.Base(temporary), "*") {
		f, err = os.CreateTemp(filepath.Dir(temporary), filepath.Base(temporary))
	} else {
		f, err = createAnew(temporary)
	}
	if err != nil {
		return nil, err
	}
	p := Adopt(f)
	if err := f.Chmod(mode); err != nil {
		p.Discard()
		return nil, err
	}
	return p, nil
}

func createAnew(name string) (*os.File, error) {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
}

// Adopt takes over a file that the caller has made under a temporary name.
func Adopt(f *os.File) *Pending { return &Pending{File: f} }

// Commit puts the file in place of path. It
//
//  1. syncs the content, unless sync is Volatile
//  2. renames the file
//  3. syncs the directory, if sync is Durable.
//
// If 1 or 2 fails, the old file stays and the new one is removed. If 3 fails, the new file
// is in place all the same.
func (p *Pending) Commit(path string, sync Sync) (err error) {
	defer p.Discard()
	if sync <= Whole {
		err = syncFile(p.File) // 1
	}
	if err := errors.Join(err, p.Close()); err != nil {
		return err
	}
	if err := rename(p.Name(), path); err != nil { // 2
		return err
	}
	p.over = true
	if sync == Durable {
		return syncDir(filepath.Dir(path)) // 3
	}
	return nil
}

// Discard removes the file, unless it was committed. It may be called twice.
func (p *Pending) Discard() {
	if p.over {
		return
	}
	p.over = true
	p.Close()
	os.Remove(p.Name())
}

// Write replaces the content of path. For temporary see Create.
func Write(path, temporary string, data []byte, sync Sync) error {
	p, err := Create(temporary)
	if err != nil {
		return err
	}
	defer p.Discard()
	if _, err := p.Write(data); err != nil {
		return err
	}
	return p.Commit(path, sync)
}

// WriteJSON is Write of v as indented JSON. Several processes may write path at once.
func WriteJSON(path string, v any, sync Sync) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return Write(path, path+".new-*", append(data, '\n'), sync)
}

// SyncDir makes the names in a directory durable.
func SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
