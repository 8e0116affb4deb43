package drivers

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestCheckDir(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Symlink(dir, link), syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir: "", link: "", "/": "",
		dir + "/none": "none does not exist", file: "file is a file, not a directory", dir + "/fifo": "not a directory",
		file + "/below": "not a directory", "relative": `"relative" is not an absolute path`, "": `"" is not an absolute path`,
		"/" + strings.Repeat("x", 300): "file name too long",
	} {
		err := CheckDir("mount it", path)
		if want == "" {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		if err == nil || !strings.HasPrefix(err.Error(), "mount it: ") || !strings.Contains(err.Error(), want) || HintOf(err) == "" {
			t.Errorf("%.20q: %v (%s)", path, err, HintOf(err))
		}
	}
}
