package drivers

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"openshell-vm/internal/inode"
)

// A hidden directory may be visible elsewhere with another device and inode: through an
// overlay, a FUSE or NFS mount, a snapshot, or a copy of a tree that holds it. So
// directories are also compared by the files in them. If name, kind, size and modification
// time (to the nanosecond) are equal, it counts as the same file.

// secret is a directory that must be hidden.
type secret struct {
	id    inode.ID
	marks []mark
}

// mark is a file by which a directory is recognized.
type mark struct {
	name string
	kind fs.FileMode
	size int64
	time syscall.Timespec
}

// maxMarks bounds the marks of one directory.
const maxMarks = 16

// secretOf identifies a directory that must be hidden, and collects its marks.
func secretOf(dir string) (secret, error) {
	id, err := inode.Of(dir)
	if err != nil {
		return secret{}, err
	}
	s := secret{id: id}
	f, err := os.Open(dir)
	if err != nil {
		return s, nil // no marks: the identity alone has to do
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

// markOf describes a file. It refuses directories: their time changes with their content.
func markOf(dir, name string) (mark, bool) {
	var st syscall.Stat_t
	if err := syscall.Lstat(filepath.Join(dir, name), &st); err != nil || st.Mode&syscall.S_IFMT == syscall.S_IFDIR {
		return mark{}, false
	}
	return mark{name, fs.FileMode(st.Mode & syscall.S_IFMT), st.Size, st.Mtim}, true
}

// is reports whether dir is the secret, or has one of its marks. If a file system keeps no
// nanoseconds, they are not compared.
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

// withParts adds to the hidden directories those of their subdirectories that hold files,
// such as that of the keys. A mount may show such a subdirectory alone.
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
