package source

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/images/room"
)

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestSpoolHoles: an archive of zeros takes no room when it is unpacked, and comes out as it
// was.
func TestSpoolHoles(t *testing.T) {
	const many = 100<<20 + 17
	text := bytes.Repeat([]byte("text"), 1000)
	dir := t.TempDir()
	packed, err := os.Create(filepath.Join(dir, "packed"))
	if err != nil {
		t.Fatal(err)
	}
	w := gzip.NewWriter(packed)
	for _, part := range []io.Reader{bytes.NewReader(text), io.LimitReader(zeros{}, many), bytes.NewReader(text), io.LimitReader(zeros{}, 5000)} {
		if _, err := io.Copy(w, part); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := packed.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	f, err := unpacked(packed, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	if want := int64(many + 2*len(text) + 5000); st.Size != want || st.Blocks*512 > 1<<20 {
		t.Errorf("it has %d bytes, not %d, and takes %d", st.Size, want, st.Blocks*512)
	}
	for _, at := range []int64{0, many + int64(len(text))} {
		got := make([]byte, len(text))
		if _, err := f.ReadAt(got, at); err != nil || !bytes.Equal(got, text) {
			t.Errorf("at %d: %v", at, err)
		}
	}
}

// TestSpoolLeavesRoom: a copy of an archive does not fill the disk.
func TestSpoolLeavesRoom(t *testing.T) {
	asked := uint64(0)
	free = func(*os.File) (uint64, error) { asked++; return room.Min + 1 - asked, nil }
	defer func() { free = room.Free }()
	f, err := spool(io.LimitReader(zeros{}, 1<<30), t.TempDir())
	if !errors.Is(err, room.ErrNone) {
		t.Errorf("%v", err)
	}
	if err == nil {
		f.Close()
	}
}

// TestSpoolCutOff: an archive that is cut off is no whole one.
func TestSpoolCutOff(t *testing.T) {
	var whole bytes.Buffer
	w := gzip.NewWriter(&whole)
	if _, err := io.Copy(w, io.LimitReader(zeros{}, 6000)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := gzip.NewReader(bytes.NewReader(whole.Bytes()[:whole.Len()-9]))
	if err != nil {
		t.Fatal(err)
	}
	if f, err := spool(r, t.TempDir()); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v", err)
		f.Close()
	}
}
