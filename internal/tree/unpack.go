package tree

import (
	"archive/tar"
	"bufio"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Options change what Unpack makes of an archive. The zero value is for one from a stranger.
type Options struct {
	// As renames what the archive holds at its top, if that is one thing: its first entry's
	// first name, or "." for a directory's content. Then all entries must be below it. ""
	// keeps the names.
	As string
	// Owners gives each file the owner that the archive names. Without it the files belong to
	// the caller.
	Owners bool
	// Privileges keeps setuid and setgid bits and file capabilities.
	Privileges bool
	// Devices makes devices. Without it they are left out.
	Devices bool
	// Follow follows links to directories that are in the directory already, as the kernel
	// does. It is for the root of a guest, which only that guest can have linked.
	Follow bool
}

// maxDepth bounds how deep directories lie in each other. Each costs a descriptor.
const maxDepth = 255

// Unpack unpacks an archive into a directory, which must be there. The archive may be
// compressed by gzip or bzip2. A directory is not replaced by something else, nor
// something else by a directory; everything else is replaced.
func Unpack(r io.Reader, dir string, opt Options) (Summary, error) {
	plain, err := decompress(r)
	if err != nil {
		return Summary{}, err
	}
	top, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return Summary{}, err
	}
	count := &counter{r: plain}
	u := unpacker{opt: opt, stack: []*level{{dir: top, path: dir}}, buf: make([]byte, 256<<10)}
	err = u.all(tar.NewReader(count), count)
	return u.done, errors.Join(err, u.leave(0, err == nil))
}

// decompress looks at the archive's first bytes.
func decompress(r io.Reader) (io.Reader, error) {
	b := bufio.NewReaderSize(r, bufferSize)
	switch magic, _ := b.Peek(3); {
	case strings.HasPrefix(string(magic), "\x1f\x8b"):
		return gzip.NewReader(b)
	case string(magic) == "BZh":
		return bzip2.NewReader(b), nil
	}
	return b, nil
}

// counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

type unpacker struct {
	opt   Options
	from  string   // the first name of the archive's first entry, if As is set
	stack []*level // the directory, and below it those to the last entry
	buf   []byte
	done  Summary
}

// level is an open directory. What its entry says is set when it is left: its own mode may
// keep everybody out, and its time changes with each file in it.
type level struct {
	name string // in the one above
	dir  *os.File
	path string      // for Options.Follow, and for errors
	set  *tar.Header // nil if there was no entry for it
}

// endMark is the length of the blocks that end an archive.
const endMark = 1024

func (u *unpacker) all(archive *tar.Reader, read *counter) error {
	for {
		before := read.n
		h, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF) && read.n-before < endMark: // the reader takes that for an end, too
			return ErrCut
		case errors.Is(err, io.EOF):
			// What follows is only read, so that its sender is not cut off.
			_, err := io.Copy(io.Discard, read)
			return err
		case errors.Is(err, io.ErrUnexpectedEOF):
			return ErrCut
		case err != nil:
			return fmt.Errorf("read the archive: %w", err)
		}
		if err := u.entry(h, archive); err != nil {
			return err
		}
	}
}

// entry makes what one entry describes, and reads its content to the end.
func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if err := checkHeader(h); err != nil {
		return err
	}
	name, err := u.rename(h.Name)
	if err != nil {
		return err
	}
	dir, base := path.Split(name)
	if name == "." && h.Typeflag != tar.TypeDir {
		return refuse(h.Name, "it stands for a directory and is none")
	} else if name == "." {
		return u.leave(1, true) // the directory is there, and stays as it is
	}
	if err := u.enter(dir); err != nil {
		return err
	}
	u.done.Entries++
	return u.make(h, base, content)
}

func refuse(name, why string) error {
	return fmt.Errorf("the archive's entry %q is refused: %s", name, why)
}

func checkHeader(h *tar.Header) error {
	const most = 1<<32 - 2 // the next one means: leave it as it is
	if h.Uid < 0 || h.Gid < 0 || h.Uid > most || h.Gid > most {
		return refuse(h.Name, "no user or group has such a number")
	}
	sparse := h.Typeflag == tar.TypeGNUSparse
	for key := range h.PAXRecords {
		sparse = sparse || strings.HasPrefix(key, "GNU.sparse.")
	}
	if sparse {
		return refuse(h.Name, "it is a sparse file, which may be of any size")
	}
	return nil
}

// local makes an entry's name relative to the directory; "." is the directory.
func local(name string) (string, error) {
	clean := path.Clean(strings.TrimLeft(name, "/"))
	switch {
	case name == "":
		return "", refuse(name, "it has no name")
	case strings.ContainsRune(name, 0):
		return "", refuse(name, "its name holds a NUL")
	case !filepath.IsLocal(clean), hasDots(name):
		return "", refuse(name, "it leads out of the directory")
	case strings.Count(clean, "/") >= maxDepth:
		return "", refuse(name, fmt.Sprintf("it is deeper than %d directories", maxDepth))
	}
	return clean, nil
}

func hasDots(name string) bool {
	for element := range strings.SplitSeq(name, "/") {
		if element == ".." {
			return true
		}
	}
	return false
}

// rename gives an entry the name that it has in the directory.
func (u *unpacker) rename(name string) (string, error) {
	clean, err := local(name)
	if err != nil || u.opt.As == "" {
		return clean, err
	}
	if u.from == "" {
		u.from, _, _ = strings.Cut(clean, "/")
	}
	rest, below := clean, u.from == "."
	if !below {
		rest, below = strings.CutPrefix(clean, u.from)
		below = below && (rest == "" || rest[0] == '/')
	}
	if !below {
		return "", refuse(name, fmt.Sprintf("it is not below %q, where the archive begins", u.from))
	}
	return path.Join(u.opt.As, rest), nil
}

// enter makes dir the last level. It leaves those that dir is not below, and opens or makes
// the others.
func (u *unpacker) enter(dir string) error {
	var elements []string
	if dir = strings.Trim(dir, "/"); dir != "" {
		elements = strings.Split(dir, "/")
	}
	same := 0
	for same < len(elements) && same+1 < len(u.stack) && u.stack[same+1].name == elements[same] {
		same++
	}
	if err := u.leave(same+1, true); err != nil {
		return err
	}
	for _, name := range elements[same:] {
		if err := u.descend(name, nil); err != nil {
			return err
		}
	}
	return nil
}

func (u *unpacker) last() *level { return u.stack[len(u.stack)-1] }

// at is the last level's descriptor.
func (u *unpacker) at() int { return int(u.last().dir.Fd()) }

// descend opens a directory in the last level, and makes it if nothing is there.
func (u *unpacker) descend(name string, set *tar.Header) error {
	file := filepath.Join(u.last().path, name)
	err := unix.Mkdirat(u.at(), name, 0o700)
	made := err == nil
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return &os.PathError{Op: "mkdir", Path: file, Err: err}
	}
	flags := unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC
	if set != nil || !u.opt.Follow {
		flags |= unix.O_NOFOLLOW
	}
	fd, err := unix.Openat(u.at(), name, flags, 0)
	switch {
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return fmt.Errorf("cannot overwrite non-directory %q with directory %q", file, name)
	case err != nil:
		return &os.PathError{Op: "open", Path: file, Err: err}
	}
	if made && set == nil {
		if err := unix.Fchmod(fd, 0o755); err != nil {
			unix.Close(fd)
			return &os.PathError{Op: "chmod", Path: file, Err: err}
		}
	}
	u.stack = append(u.stack, &level{name: name, dir: os.NewFile(uintptr(fd), file), path: file, set: set})
	return nil
}

// leave closes the levels from the n-th on. With set they get what their entries say.
func (u *unpacker) leave(n int, set bool) (err error) {
	for len(u.stack) > n {
		l := u.last()
		if set && l.set != nil {
			err = errors.Join(err, u.dress(l.dir, l.set))
		}
		l.dir.Close()
		u.stack = u.stack[:len(u.stack)-1]
	}
	return err
}
