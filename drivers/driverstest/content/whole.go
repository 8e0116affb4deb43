package content

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Whole tells all that an image can say of dir and what is below: a line for each file,
// with its owner, mode, time to the nanosecond, extended attributes, and content. Sizes and
// link counts of directories are left out: they are the file system's own.
func Whole(dir string, tell func(line string)) {
	_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		if err != nil {
			tell(fmt.Sprintf("%q %s", rel, reason(err)))
			return nil
		}
		owner, line := lookAt(path)
		var st syscall.Stat_t
		_ = syscall.Lstat(path, &st) // lookAt has told of an error
		tell(fmt.Sprintf("%q %s %s +%dns%s", rel, owner, line, st.Mtim.Nsec, attributes(path)))
		return nil
	})
}

// attributes lists the extended attributes of a file. What SELinux and the like add to
// every file is no image's.
func attributes(path string) (all string) {
	size, err := unix.Llistxattr(path, nil)
	if err != nil || size == 0 {
		return ""
	}
	names := make([]byte, size)
	size, _ = unix.Llistxattr(path, names)
	list := strings.FieldsFunc(string(names[:max(0, size)]), func(r rune) bool { return r == 0 })
	slices.Sort(list)
	for _, name := range list {
		if name == "security.selinux" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		all += fmt.Sprintf(" %s=%x%s", name, value[:max(0, n)], reason(err))
	}
	return all
}

// DigestEvery is after how many lines a Digest tells how far it is: a slow guest takes minutes
// for all of a large image.
const DigestEvery = 5000

// Digest counts the lines of Whole, and hashes them. It tells how far it is, and at the end the
// result.
func Digest(dir string, tell func(lines int, sum string)) {
	h, lines := sha256.New(), 0
	Whole(dir, func(line string) {
		if lines > 0 && lines%DigestEvery == 0 {
			tell(lines, hex.EncodeToString(h.Sum(nil)))
		}
		lines++
		_, _ = io.WriteString(h, line+"\n")
	})
	tell(lines, hex.EncodeToString(h.Sum(nil)))
}
