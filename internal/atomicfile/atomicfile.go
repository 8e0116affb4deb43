// Package atomicfile replaces a file by a whole new one.
//
// What is promised: whoever opens the name gets all of the old content or all of the
// new, also where the writer was killed at any instruction. What a power cut leaves
// depends on the Sync that was asked for. Files have mode 0600, whatever the umask.
//
// What is not: that several files change together, or that one of two writers
// notices the other; the later rename wins. The temporary file of a killed writer stays
// until the next one of that name, or for ever if the name has a star.
//
// github.com/google/renameio is not used: it leaves the directory unsynced, so that a
// power cut can bring the old file back after a write was called done, and its temporary
// names are random, so that nobody finds what a killed writer left.
package atomicfile

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Sync is what a new file is to survive.
type Sync int

// Each holds what the ones below it hold.
const (
	Durable  Sync = iota // once it is done, a power cut leaves the new content
	Whole                // a power cut leaves the old content or the new
	Volatile             // a power cut may leave anything: whoever reads it checks it
)

const mode = 0o600

// Variables so that tests can see and fail them.
var (
	syncFile = (*os.File).Sync
	rename   = os.Rename
	syncDir  = SyncDir
)

// Pending is a new file under its temporary name. It ends with Commit or Discard. Not
// safe for concurrent use.
type Pending struct {
	*os.File
	over bool
}

// Create begins a new file. temporary lies in the directory of the file that it is to
// become. A star in it stands for something that no other file has; without one,
// whatever lies there is what a killed writer left, and is removed.
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
//  1. syncs the content, unless it is Volatile
//  2. renames the file
//  3. syncs the directory, if it is Durable.
//
// When 3 fails, the new file is in place; before, the old one stays and the new one is
// removed.
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

// Write gives path new content. For temporary see Create.
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

// WriteJSON is Write of v, for people to read. Several may write the file at once.
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
