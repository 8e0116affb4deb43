// Package blanks sets room aside on a file system, as long as it has some, for what has to be
// written when it has none.
package blanks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// Reserve is room for generations that is set aside while the file system has some. When
// the file system is full, a publish takes its room from the reserve.
//
// A reserve is a directory of blanks. A blank is a directory with two files whose blocks
// are allocated, and four empty files. A publish renames a blank into its place, writes
// into the two files and renames them. So the room that is set aside is never free: a
// program that takes every byte as soon as it is free gets none of it. A publish links
// further files from the current generation if they have not changed there. On tmpfs a
// link counts as an inode. For that the publish removes an empty file, and for a moment
// its inode is free for others.
//
// A reserve is enough for as many publishes of two new files as it has blanks: For says
// what more files and directories take. The next Keep makes
// superseded generations' room into blanks again, if nobody else takes it first.
//
// All methods may be called concurrently. Only one process may use a reserve at a time.
type Reserve struct {
	path string

	mu     sync.Mutex
	blanks []string // their names
	made   int      // number of the last name
}

const (
	blankForm = "blank-%08d"
	blankNew  = "new" // a blank that is being made

	// Block is how many bytes of room each of the Files has; a token and its metadata have less.
	Block = 4096

	// Size is how many bytes a blank takes up, directory and files, on a file
	// system with blocks of 4 KiB.
	Size = 3 * Block
)

// The names in a blank. No published name can be among these. They are only read.
var (
	Files  = []string{"..0", "..1"} // with one block each
	Inodes = []string{"..2", "..3", "..4", "..5"}
)

// For returns how many blanks one publish with so many new files takes, each of at most
// 4 KiB, and with so many directories.
func For(files, dirs int) int {
	return max(1, (files+len(Files)-1)/len(Files)) + dirs
}

// Open returns the reserve at path, whose parent exists. Keep makes the
// directory. Open takes over an earlier process's blanks by their names, and
// removes everything else. It does not look into the blanks, since there may be
// thousands and renewals wait; each is checked when it is taken.
func Open(path string) (*Reserve, error) {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	} else if err != nil {
		return nil, err
	}
	r := &Reserve{path: path}
	for _, e := range entries {
		var n int
		_, scan := fmt.Sscanf(e.Name(), blankForm, &n)
		if scan != nil {
			err = errors.Join(err, os.RemoveAll(filepath.Join(path, e.Name())))
			continue
		}
		r.blanks, r.made = append(r.blanks, e.Name()), max(r.made, n)
	}
	return r, err
}

// isBlank reports whether a directory is a whole blank, with its blocks.
func isBlank(dir string) bool {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(Files)+len(Inodes) {
		return false
	}
	for _, e := range entries {
		var st unix.Stat_t
		if unix.Lstat(filepath.Join(dir, e.Name()), &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 1 || st.Size != 0 ||
			slices.Contains(Files, e.Name()) && st.Blocks*512 < Block {
			return false
		}
	}
	return true
}

// Len returns the number of blanks.
func (r *Reserve) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.blanks)
}

// Keep makes or removes blanks until there are n. If the error is ENOSPC or EDQUOT, there is
// no room for more now. Any other error means that this file system can't set room aside.
func (r *Reserve) Keep(n int) error {
	r.forget()
	for {
		r.mu.Lock()
		var err error
		have := len(r.blanks)
		switch {
		case have < n:
			err = r.make()
		case have > n:
			err = os.RemoveAll(filepath.Join(r.path, r.pop()))
		}
		r.mu.Unlock()
		if err != nil || have == n {
			return err
		}
	}
}

// forget drops the names of blanks that others have removed.
func (r *Reserve) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	there := map[string]bool{}
	entries, _ := os.ReadDir(r.path)
	for _, e := range entries {
		there[e.Name()] = true
	}
	r.blanks = slices.DeleteFunc(r.blanks, func(name string) bool { return !there[name] })
}

// make adds a blank. The caller holds r.mu.
func (r *Reserve) make() error {
	r.made++
	name := fmt.Sprintf(blankForm, r.made)
	dir := filepath.Join(r.path, blankNew)
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.Join(os.Mkdir(r.path, 0o700), os.Mkdir(dir, 0o700))
	}
	for _, file := range slices.Concat(Files, Inodes) {
		if err == nil {
			err = allocate(filepath.Join(dir, file), slices.Contains(Files, file))
		}
	}
	if err == nil {
		err = os.Rename(dir, filepath.Join(r.path, name))
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	r.blanks = append(r.blanks, name)
	return nil
}

// allocate makes an empty file, with one block if block is true.
func allocate(path string, block bool) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if !block {
		return nil
	}
	err = unix.EINTR
	for err == unix.EINTR {
		err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, Block)
	}
	if err != nil {
		return fmt.Errorf("set room aside in %s: %w", filepath.Dir(filepath.Dir(path)), err)
	}
	return nil
}

// pop takes the last blank's name. The caller holds r.mu and knows that there is one.
func (r *Reserve) pop() string {
	name := r.blanks[len(r.blanks)-1]
	r.blanks = r.blanks[:len(r.blanks)-1]
	return name
}

// ErrNone means that the reserve is empty.
var ErrNone = errors.New("the reserve is used up")

// Take calls rename with a whole blank. rename moves it to where it is needed.
func (r *Reserve) Take(rename func(blank string) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.blanks) > 0 {
		blank := filepath.Join(r.path, r.pop())
		if !isBlank(blank) {
			_ = os.RemoveAll(blank)
			continue
		}
		err := rename(blank)
		if !errors.Is(err, fs.ErrNotExist) { // else somebody has removed the blank: try the next
			return err
		}
	}
	return ErrNone
}

// File makes an empty file of mode 0600 at path that has a block, and opens it for
// writing. It replaces a file that is there. For a size of more than one block it also
// frees further blanks. Somebody else may take their room first.
func (r *Reserve) File(path string, size int) (f *os.File, err error) {
	for size -= Block; err == nil && size > 0; size -= 2 * Block {
		err = r.Take(os.RemoveAll)
	}
	if err != nil {
		return nil, err
	}
	err = r.Take(func(blank string) error {
		if err := os.Rename(filepath.Join(blank, Files[0]), path); err != nil {
			return err
		}
		return os.RemoveAll(blank)
	})
	if err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_WRONLY|unix.O_NOFOLLOW, 0)
}
