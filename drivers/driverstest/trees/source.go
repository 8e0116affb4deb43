package trees

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// Source makes a directory in parent that everybody may write to, with a file and a
// directory in it: "file" and "sub".
func Source(t testing.TB, parent string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(dir, 0o777), os.WriteFile(filepath.Join(dir, "file"), []byte("content"), 0o666),
		os.Mkdir(filepath.Join(dir, "sub"), 0o777)); err != nil {
		t.Fatal(err)
	}
	return dir
}
