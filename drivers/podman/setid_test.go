package podman

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"testing"
)

// archive holds a directory, and programs with every bit.
func archive(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	content := bytes.Repeat([]byte("x"), 1000)
	for _, h := range []tar.Header{
		{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o2755},
		{Name: "d/u", Typeflag: tar.TypeReg, Mode: 0o4755, Size: int64(len(content)), Uid: 1000},
		{Name: "d/g", Typeflag: tar.TypeReg, Mode: 0o2711, Size: int64(len(content))},
		{Name: "d/t", Typeflag: tar.TypeReg, Mode: 0o1644, Size: int64(len(content)), PAXRecords: map[string]string{"SCHILY.xattr.user.a": "b"}},
		{Name: "d/l", Typeflag: tar.TypeSymlink, Mode: 0o777, Linkname: "u"},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write(content); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestWithoutSetIDs: the bits go, and nothing else.
func TestWithoutSetIDs(t *testing.T) {
	was := archive(t)
	before, after := tar.NewReader(bytes.NewReader(was)), tar.NewReader(withoutSetIDs(io.NopCloser(bytes.NewReader(was))))
	for {
		want, err := before.Next()
		got, err2 := after.Next()
		if err != nil || err2 != nil {
			if err != io.EOF || err2 != io.EOF {
				t.Fatal(err, err2)
			}
			return
		}
		if got.Mode != want.Mode&^0o6000 || got.Name != want.Name || got.Uid != want.Uid || got.Linkname != want.Linkname ||
			got.Typeflag != want.Typeflag || got.PAXRecords["SCHILY.xattr.user.a"] != want.PAXRecords["SCHILY.xattr.user.a"] {
			t.Errorf("%+v became %+v", want, got)
		}
		a, _ := io.ReadAll(before)
		if b, err := io.ReadAll(after); err != nil || !bytes.Equal(a, b) {
			t.Errorf("%s: %d bytes became %d, %v", want.Name, len(a), len(b), err)
		}
	}
}

// TestCutArchive: wherever an archive ends early, what comes out is no whole one.
func TestCutArchive(t *testing.T) {
	whole := archive(t)
	for size := 0; size < len(whole)-endSize; size += 128 {
		if _, err := io.Copy(io.Discard, withoutSetIDs(io.NopCloser(bytes.NewReader(whole[:size])))); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut at %d of %d: %v", size, len(whole), err)
		}
	}
}
