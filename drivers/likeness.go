package drivers

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"openshell-vm/internal/inode"
)

// A hidden directory can show elsewhere under another device and inode: through an
// overlay, a FUSE or NFS mount, a snapshot or a copy of a tree that has it. So
// directories are compared by what lies in them, too: a file of the same name, kind,
// size and time of change, to the nanosecond, is the same file seen another way.

// secret is a directory that is to be hidden.
type secret struct {
	id    inode.ID
	marks []mark
}

// mark is a file by which a directory is known again.
type mark struct {
	name string
	kind fs.FileMode
	size int64
	time syscall.Timespec
}

// maxMarks is enough to find a directory by.
const maxMarks = 16

// secretOf looks at a directory that is to be hidden.
func secretOf(dir string) (secret, error) {
	id, err := inode.Of(dir)
	if err != nil {
		return secret{}, err
	}
	s := secret{id: id}
	f, err := os.Open(dir)
	if err != nil {
		return s, nil // what we can't read, nobody of us can show
	}
	defer f.Close()
	entries, _ := f.ReadDir(-1)
	for _, e := range entries {
		if m, ok := markOf(dir, e.Name()); ok && len(s.marks) < maxMarks {
			s.marks = append(s.marks, m)
		}
	}
	return s, nil
}

// markOf describes a file; not a directory, whose time changes with what is in it.
func markOf(dir, name string) (mark, bool) {
	var st syscall.Stat_t
	if err := syscall.Lstat(filepath.Join(dir, name), &st); err != nil || st.Mode&syscall.S_IFMT == syscall.S_IFDIR {
		return mark{}, false
	}
	return mark{name, fs.FileMode(st.Mode & syscall.S_IFMT), st.Size, st.Mtim}, true
}

// is says whether dir is the secret, or shows what is in it. Some file systems keep
// no nanoseconds.
func (s secret) is(dir string) bool {
	if id, err := inode.Of(dir); err != nil {
		return false
	} else if id == s.id {
		return true
	}
	for _, want := range s.marks {
		got, ok := markOf(dir, want.name)
		if got.time.Nsec == 0 {
			want.time.Nsec = 0
		}
		if ok && got == want {
			return true
		}
	}
	return false
}

// withParts adds to the hidden directories those in them that have files of their own,
// as the keys': a view may show one of them alone. Those of sandboxes have none.
func withParts(hidden []string) []string {
	all := hidden[:len(hidden):len(hidden)]
	for _, h := range hidden {
		entries, _ := os.ReadDir(h)
		for _, e := range entries {
			if !e.IsDir() {
				continue
			}
			part := filepath.Join(h, e.Name())
			if s, err := secretOf(part); err == nil && len(s.marks) > 0 {
				all = append(all, part)
			}
		}
	}
	return all
}
