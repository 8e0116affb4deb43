package content

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Seen is what a process sees of one file. The owner stands apart: in an ordinary user's
// VM it has another number.
type Seen struct {
	Name  string // quoted: it may be any bytes
	Owner string // "uid:gid"
	Line  string
}

// ends is how many bytes are read at each end of a file. A sparse one is too large to be
// read as a whole.
const ends = 64 << 10

// Tree looks at dir and all below it. It opens nothing but directories and regular
// files. What can't be looked at is told with its error.
func Tree(dir string, tell func(Seen)) {
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		if err != nil && e != nil && e.IsDir() { // after it was told as an entry
			tell(Seen{Name: fmt.Sprintf("%q", rel+"/"), Line: reason(err)})
			return nil
		}
		s := Seen{Name: fmt.Sprintf("%q", rel)}
		s.Owner, s.Line = lookAt(path)
		tell(s)
		return nil
	})
}

func lookAt(path string) (owner, line string) {
	var st syscall.Stat_t
	if err := syscall.Lstat(path, &st); err != nil {
		return "", reason(err)
	}
	owner = fmt.Sprintf("%d:%d", st.Uid, st.Gid)
	line = fmt.Sprintf("mode %o, changed %d", st.Mode, st.Mtim.Sec)
	switch st.Mode & syscall.S_IFMT {
	case syscall.S_IFREG:
		line += fmt.Sprintf(", %d bytes, %d names, %s", st.Size, st.Nlink, sum(path, st.Size))
	case syscall.S_IFLNK:
		to, err := os.Readlink(path)
		line += fmt.Sprintf(", to %q %s", to, reason(err))
	case syscall.S_IFCHR, syscall.S_IFBLK:
		line += fmt.Sprintf(", device %x", st.Rdev)
	}
	return owner, line
}

// sum tells contents apart.
func sum(path string, size int64) string {
	f, err := os.Open(path)
	if err != nil {
		return reason(err)
	}
	defer f.Close()
	h := sha256.New()
	for _, from := range []int64{0, max(0, size-ends)} {
		if _, err := io.Copy(h, io.NewSectionReader(f, from, ends)); err != nil {
			return reason(err)
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:6])
}

// reason is an error without the path, which differs.
func reason(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}
