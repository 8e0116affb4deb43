package block

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"openshell-vm/drivers/vm/images/erofs"
)

// archive is a layer of a test.
type archive struct {
	t   *testing.T
	buf bytes.Buffer
	w   *tar.Writer
}

func newArchive(t *testing.T) *archive {
	a := &archive{t: t}
	a.w = tar.NewWriter(&a.buf)
	return a
}

// add adds an entry, with data if it is a regular file.
func (a *archive) add(h tar.Header, data string) *archive {
	a.t.Helper()
	if h.Typeflag == 0 || h.Typeflag == tar.TypeReg {
		h.Typeflag, h.Size = tar.TypeReg, int64(len(data))
	}
	if h.Mode == 0 {
		h.Mode = 0o644
	}
	if err := a.w.WriteHeader(&h); err != nil {
		a.t.Fatal(err)
	}
	if _, err := io.WriteString(a.w, data); err != nil {
		a.t.Fatal(err)
	}
	return a
}

func (a *archive) file(name, data string) *archive { return a.add(tar.Header{Name: name}, data) }
func (a *archive) dir(name string) *archive {
	return a.add(tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}, "")
}
func (a *archive) symlink(name, to string) *archive {
	return a.add(tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}, "")
}
func (a *archive) link(name, to string) *archive {
	return a.add(tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: to}, "")
}

func (a *archive) Name() string { return "sha256:test" }

func (a *archive) Open() (io.ReadCloser, error) {
	if err := a.w.Close(); err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(a.buf.Bytes())), nil
}

// write makes an image of layers, in a file that the test removes.
func write(t *testing.T, layers ...*archive) (string, error) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []Layer
	for _, l := range layers {
		all = append(all, l)
	}
	return f.Name(), Write(f, all, erofs.Options{Volume: "test"})
}

// TestManyFiles converts 50,000 small files.
func TestManyFiles(t *testing.T) {
	a := newArchive(t)
	for i := range 50_000 {
		a.file(filepath.Join("d", strings.Repeat("x", i%50), "f"+string(rune('a'+i%26))+strings.Repeat("y", i/26%40)+string(rune('A'+i/1040))), strings.Repeat("z", i%5000))
	}
	name, err := write(t, a)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("fsck.erofs", name).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("fsck.erofs is not installed")
	}
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}
