package source

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"openshell-vm/drivers/vm/images/room"
	"openshell-vm/drivers/vm/images/unpack"
)

// archive is an archive in a file. Its entries are read where they lie.
type archive struct {
	f       *os.File
	entries map[string]entry
}

type entry struct {
	at, size int64
	link     string // leads to another entry
}

const (
	// maxArchived is how many entries an archive of images may have.
	maxArchived = 10_000
	// maxSpool bounds a copy of an archive, in bytes.
	maxSpool = 256 << 30
)

func openArchive(f *os.File) (*archive, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	a := &archive{f: f, entries: map[string]entry{}}
	in := tar.NewReader(f) // without a buffer, so the file's offset is the reader's
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return a, nil
		} else if err != nil {
			return nil, fmt.Errorf("it is no archive: %w", err)
		}
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		name := path.Clean("/" + h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			a.entries[name] = entry{at: at, size: h.Size}
		case tar.TypeSymlink:
			a.entries[name] = entry{link: path.Join("/", path.Dir(name), h.Linkname)}
		case tar.TypeLink:
			a.entries[name] = entry{link: path.Clean("/" + h.Linkname)}
		}
		if len(a.entries) > maxArchived {
			return nil, fmt.Errorf("it has more than %d files, which no archive of images has", maxArchived)
		}
	}
}

type section struct{ *io.SectionReader }

func (section) Close() error { return nil }

// open follows one link: older versions of docker save wrote a layer that several images
// have once, and links to it.
func (a *archive) open(name string) (file, error) {
	name = path.Clean("/" + name)
	e, ok := a.entries[name]
	if ok && e.link != "" {
		e, ok = a.entries[e.link]
	}
	if !ok || e.link != "" {
		return nil, fmt.Errorf("it has no %q", name[1:])
	}
	return section{io.NewSectionReader(a.f, e.at, e.size)}, nil
}

// unpacked returns f itself, or a copy that is not compressed. f stays the caller's.
func unpacked(f *os.File, dir string) (*os.File, error) {
	in := bufio.NewReader(f)
	if !unpack.Compressed(in) {
		return f, nil
	}
	r, err := unpack.Reader(in)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return spool(r, dir)
}

// free says how much is free where a file lies. A test replaces it.
var free = room.Free

// spool copies r into a file without a name. Zeros take no room there.
func spool(r io.Reader, dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, ".spool-*")
	if err != nil {
		return nil, err
	}
	os.Remove(f.Name())
	if err := copyWithHoles(f, r); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// copyWithHoles leaves out blocks of zeros.
func copyWithHoles(f *os.File, r io.Reader) error {
	guard := room.Guard{Free: func() (uint64, error) { return free(f) }}
	if err := guard.Need(0); err != nil {
		return err
	}
	in := bufio.NewReaderSize(r, 256<<10)
	var block, zero [4096]byte
	for at := int64(0); ; {
		n, err := io.ReadFull(in, block[:])
		if at += int64(n); at > maxSpool {
			return fmt.Errorf("it has more than %d GiB", int64(maxSpool)>>30)
		}
		if !bytes.Equal(block[:n], zero[:n]) {
			if _, err := f.WriteAt(block[:n], at-int64(n)); err != nil {
				return err
			}
		}
		if err := guard.Wrote(n); err != nil {
			return err
		}
		switch {
		case err == io.EOF:
			return f.Truncate(at)
		case err == io.ErrUnexpectedEOF && n > 0: // the end, or r is cut off: the next read tells
		case err != nil:
			return err
		}
	}
}
