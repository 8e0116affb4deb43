package host

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
	"openshell-vm/internal/atomicfile"
	"openshell-vm/internal/plainfile"
)

// templateMax is more than an empty file system takes up, in bytes. If one takes up more,
// it lies on a file system without sparse files.
const templateMax = 16 << 20

const (
	opUpper   = "make the sandbox's disk"
	hintUpper = "see that the state directory has room and its file system takes large sparse files, or use --ephemeral"
)

// MakeUpper makes an empty ext4 of size bytes in a sparse file. For the default size it
// copies a template from the cache, since mkfs syncs what it writes, and on a busy disk
// that takes longer than all the rest of a start. Without a template it runs mkfs.
func (h *Host) MakeUpper(ctx context.Context, path string, size int64) error {
	if size != DefaultDisk {
		return newUpper(ctx, path, size)
	}
	template := h.cached(cacheUpper)
	if copyUpper(template, path, size) == nil {
		return nil
	}
	if err := newUpper(ctx, path, size); err != nil {
		return err
	}
	h.keepTemplate(path, template)
	return nil
}

// copyUpper copies the template, if that is whole.
func copyUpper(template, path string, size int64) error {
	in, err := plainfile.Open(template, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	if !wholeFileSystem(in, size) {
		return errors.New("it is not whole")
	}
	return copySparse(in, path)
}

// keepTemplate puts a copy of a new file system into the cache. If two do so at once, the
// later copy stays. If it fails, the next sandbox's disk takes its time.
func (h *Host) keepTemplate(path, template string) {
	if err := os.MkdirAll(h.CacheDir, 0o700); err != nil {
		return
	}
	in, err := os.Open(path)
	if err != nil {
		return
	}
	defer in.Close()
	temp, err := atomicfile.Create(filepath.Join(h.CacheDir, ".new-*"))
	if err != nil {
		return
	}
	defer temp.Discard()
	if copySparse(in, temp.Name()) == nil {
		_ = temp.Commit(template, atomicfile.Whole)
	}
}

// wholeFileSystem reports whether a file has this size, and the superblock of an ext4
// that fills it. Clean-up programs and power cuts leave others.
func wholeFileSystem(f *os.File, size int64) bool {
	const (
		superblock = 1024
		blocks     = superblock + 0x4
		blockSize  = superblock + 0x18 // 1024 << it
		magic      = superblock + 0x38
	)
	head := make([]byte, 2*superblock)
	info, err := f.Stat()
	if err != nil || info.Size() != size {
		return false
	}
	if _, err := f.ReadAt(head, 0); err != nil {
		return false
	}
	le := binary.LittleEndian
	return le.Uint16(head[magic:]) == 0xef53 &&
		int64(le.Uint32(head[blocks:]))<<(10+le.Uint32(head[blockSize:])) == size
}

// newUpper makes a file system beside path and puts it there when it is whole.
func newUpper(ctx context.Context, path string, size int64) error {
	mkfs, err := findMkfs()
	if err != nil {
		return err
	}
	f, err := atomicfile.Create(filepath.Join(filepath.Dir(path), ".new-*"))
	if err != nil {
		return &drivers.Error{Op: opUpper, Err: err, Hint: hintUpper}
	}
	defer f.Discard()
	if err := makeFileSystem(ctx, mkfs, f.File, size); err != nil {
		return &drivers.Error{Op: opUpper, Err: err, Hint: hintUpper}
	}
	return f.Commit(path, atomicfile.Volatile) // mkfs has synced it
}

// makeFileSystem makes an ext4 of size bytes in the empty file f. Its options keep mkfs
// from writing zeros, so the file stays sparse.
func makeFileSystem(ctx context.Context, mkfs string, f *os.File, size int64) error {
	if err := f.Truncate(size); err != nil {
		return err
	}
	journal := "size=" + strconv.FormatInt(min(32, size>>24), 10) // MiB
	cmd := exec.CommandContext(ctx, mkfs, "-t", "ext4", "-q", "-F", "-b", "4096", "-m", "0", "-J", journal, "-O", "^resize_inode",
		"-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", f.Name())
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("mkfs.ext4: %w: %s", err, bytes.TrimSpace(said.Bytes()))
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	if st.Blocks*512 > templateMax {
		return errors.New("this file system has no sparse files")
	}
	return nil
}

// copySparse copies a file's data and keeps its holes.
func copySparse(in *os.File, to string) error {
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := out.Truncate(info.Size()); err != nil {
		return err
	}
	for end := int64(0); ; {
		start, err := unix.Seek(int(in.Fd()), end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // no more data
			return out.Close()
		} else if err != nil {
			return err
		}
		if end, err = unix.Seek(int(in.Fd()), start, unix.SEEK_HOLE); err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(out, start), io.NewSectionReader(in, start, end-start)); err != nil {
			return err
		}
	}
}
