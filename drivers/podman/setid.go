package podman

import (
	"archive/tar"
	"bytes"
	"io"
)

// setIDs are the bits by which a program runs as its owner or its group.
const setIDs = 0o6000

// withoutSetIDs passes an archive on without these bits. Podman gives all files in it to the
// container's user, so a program that was any user's would become one of that user's: of root's,
// on the host of a root that unpacks it. An archive that ends early does so here, too.
func withoutSetIDs(archive io.ReadCloser) io.ReadCloser {
	out, in := io.Pipe()
	go func() {
		defer archive.Close()
		in.CloseWithError(dropSetIDs(in, archive))
	}()
	return passed{out, archive}
}

// passed is what is left of an archive that goes through a pipe.
type passed struct {
	*io.PipeReader
	from io.Closer
}

// Close ends both sides.
func (p passed) Close() error {
	p.PipeReader.Close()
	return p.from.Close()
}

// tail counts the zero bytes at the end of what was read.
type tail struct {
	io.Reader
	zeros int
}

func (t *tail) Read(p []byte) (int, error) {
	n, err := t.Reader.Read(p)
	if rest := bytes.TrimRight(p[:n], "\x00"); len(rest) > 0 {
		t.zeros = n - len(rest)
	} else {
		t.zeros += n
	}
	return n, err
}

// endSize is the size of an archive's end: two empty blocks.
const endSize = 1024

func dropSetIDs(w io.Writer, r io.Reader) error {
	from := &tail{Reader: r}
	in, out := tar.NewReader(from), tar.NewWriter(w)
	for {
		from.zeros = 0 // those of the last file's content do not count
		header, err := in.Next()
		if err == io.EOF && from.zeros < endSize { // package tar takes that for an end
			return io.ErrUnexpectedEOF
		} else if err == io.EOF {
			return out.Close()
		} else if err != nil {
			return err
		}
		header.Mode &^= setIDs
		header.Format = tar.FormatUnknown // the writer chooses one that can hold it
		if err := out.WriteHeader(header); err != nil {
			return err
		}
		if _, err := io.Copy(out, in); err != nil {
			return err
		}
	}
}
