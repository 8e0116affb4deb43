package tree

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// PackOptions change what Pack writes.
type PackOptions struct {
	// Root makes everything belong to root.
	Root bool
	// OneView leaves out what the kernel shows below the path, such as /proc.
	OneView bool
}

// Pack writes an archive of what source names, with all that is below it. In the archive it
// is called name; "." is for a directory's content. Pack follows no symbolic link, except
// where source ends in a slash or a dot. What can't be read or is a socket is left out, and
// what vanishes meanwhile.
func Pack(w io.Writer, source, name string, opt PackOptions) (Summary, error) {
	// Each write may be a message of its own on its way. Small files need several writes each.
	buffered := bufio.NewWriterSize(w, bufferSize)
	p := packer{out: tar.NewWriter(buffered), opt: opt, links: map[inode]string{}}
	err := p.add(source, name, true)
	if err == nil {
		err = p.out.Close()
	}
	if err == nil {
		err = buffered.Flush()
	}
	return p.done, err
}

type packer struct {
	out   *tar.Writer
	opt   PackOptions
	links map[inode]string // files with several names: the first name in the archive
	done  Summary
	dev   uint64 // of the directory that is read
}

type inode struct{ dev, ino uint64 }

const bufferSize = 64 << 10

// add writes one name and what is below it.
func (p *packer) add(file, name string, top bool) error {
	info, err := os.Lstat(file)
	switch {
	case top && err != nil:
		return err
	case errors.Is(err, fs.ErrNotExist): // it has vanished
		return nil
	case err != nil:
		p.done.leaveOut(err.Error())
		return nil
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: this system does not tell owners", file)
	}
	if info.Mode()&fs.ModeSocket != 0 {
		p.done.leaveOut(file + " is a socket")
		return nil
	}
	header, err := p.header(file, name, info, st)
	if err != nil {
		p.done.leaveOut(err.Error())
		return nil
	}
	if info.Mode().IsRegular() {
		return p.file(file, header, st)
	}
	if err := p.write(header); err != nil || !info.IsDir() {
		return err
	}
	return p.children(file, name, st, top)
}

func (p *packer) write(header *tar.Header) error {
	p.done.Entries++
	return p.out.WriteHeader(header)
}

// header describes a file. The name of a directory ends in a slash, as tar's does.
func (p *packer) header(file, name string, info fs.FileInfo, st *syscall.Stat_t) (*tar.Header, error) {
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		var err error
		if link, err = os.Readlink(file); err != nil {
			return nil, err
		}
	}
	h, err := tar.FileInfoHeader(nameless{info}, link)
	if err != nil {
		return nil, err
	}
	h.Name, h.Format = name, tar.FormatPAX
	if info.IsDir() {
		h.Name += "/"
	}
	h.AccessTime, h.ChangeTime = time.Time{}, time.Time{}
	h.Mode = int64(st.Mode & 0o7777)
	if p.opt.Root {
		h.Uid, h.Gid = 0, 0
	}
	if value := capabilityOf(file, info); value != "" {
		h.PAXRecords = map[string]string{capabilityKey: value}
	}
	return h, nil
}

// nameless keeps package tar from looking names of users up, for each file anew if there is
// none. They would be this system's.
type nameless struct{ fs.FileInfo }

func (nameless) Uname() (string, error) { return "", nil }
func (nameless) Gname() (string, error) { return "", nil }

// capabilityOf returns a program's file capabilities, as the kernel keeps them.
func capabilityOf(file string, info fs.FileInfo) string {
	if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return ""
	}
	value := make([]byte, 64)
	n, err := unix.Lgetxattr(file, capability, value)
	if err != nil {
		return ""
	}
	return string(value[:n])
}

// file writes a regular file, or a link to its first name.
func (p *packer) file(file string, h *tar.Header, st *syscall.Stat_t) error {
	id := inode{st.Dev, st.Ino}
	if first, ok := p.links[id]; ok {
		h.Typeflag, h.Linkname, h.Size, h.PAXRecords = tar.TypeLink, first, 0, nil
		return p.write(h)
	}
	f, err := openPlain(file, id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		p.done.leaveOut(err.Error())
		return nil
	}
	defer f.Close()
	if st.Nlink > 1 {
		p.links[id] = h.Name
	}
	var content io.Reader = f
	if ofKernel(f) { // its size says nothing
		data, err := io.ReadAll(io.LimitReader(f, maxKernelFile))
		if err != nil {
			p.done.leaveOut(err.Error())
			return nil
		}
		content, h.Size = bytes.NewReader(data), int64(len(data))
	}
	if err := p.write(h); err != nil {
		return err
	}
	n, err := io.CopyN(p.out, content, h.Size) // a file that grows is cut where it ended
	p.done.Bytes += n
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s became shorter while it was copied", file)
	}
	return err
}

// openPlain opens a file that was looked at. Meanwhile its name may lead to anything.
func openPlain(file string, id inode) (*os.File, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || (inode{st.Dev, st.Ino}) != id {
		f.Close()
		return nil, fmt.Errorf("%s was replaced while it was copied", file)
	}
	return f, nil
}

// children packs a directory's content.
func (p *packer) children(dir, name string, st *syscall.Stat_t, top bool) error {
	if p.opt.OneView && !top && st.Dev != p.dev && isKernels(dir) {
		return nil
	}
	outer := p.dev
	p.dev = st.Dev
	defer func() { p.dev = outer }()
	entries, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		p.done.leaveOut(err.Error())
	}
	for _, e := range entries {
		if err := p.add(filepath.Join(dir, e.Name()), inArchive(name, e.Name()), false); err != nil {
			return err
		}
	}
	return nil
}

func inArchive(dir, name string) string {
	if dir == "." {
		return name
	}
	return strings.TrimSuffix(dir, "/") + "/" + name
}

// kernelFS are the file systems that hold no files of anybody's: /proc and what is like it.
var kernelFS = map[int64]bool{
	unix.PROC_SUPER_MAGIC: true, unix.SYSFS_MAGIC: true, unix.DEVPTS_SUPER_MAGIC: true, unix.CGROUP_SUPER_MAGIC: true,
	unix.CGROUP2_SUPER_MAGIC: true, unix.DEBUGFS_MAGIC: true, unix.TRACEFS_MAGIC: true, unix.SECURITYFS_MAGIC: true,
	unix.BPF_FS_MAGIC: true, unix.BINFMTFS_MAGIC: true, unix.PSTOREFS_MAGIC: true, mqueueMagic: true,
}

const mqueueMagic = 0x19800202

func isKernels(dir string) bool {
	f, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer f.Close()
	return ofKernel(f)
}

// maxKernelFile is how much of a file of such a file system is read, in bytes.
const maxKernelFile = 16 << 20

func ofKernel(f *os.File) bool {
	var fs unix.Statfs_t
	return unix.Fstatfs(int(f.Fd()), &fs) == nil && kernelFS[int64(fs.Type)]
}

// Base is the name that Pack's caller usually gives what a path names: its last element, and
// "." for the content of a directory.
func Base(file string) string {
	if base := path.Base(file); base != "/" {
		return base
	}
	return "."
}
