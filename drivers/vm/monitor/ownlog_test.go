package monitor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOwnLogIsBounded: however much a guest makes its monitor log, it is two files of a
// bounded size, and the last of it is there. It goes on in what the driver has opened.
func TestOwnLogIsBounded(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, LogFile)
	if err := os.WriteFile(path, []byte("from before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	log := NewLogger(dir)
	log.Info("first")
	if data, _ := os.ReadFile(path); !strings.HasPrefix(string(data), "from before\n") || !strings.Contains(string(data), "first") {
		t.Errorf("%q", data)
	}
	line := strings.Repeat("x", 32<<10)
	for i := range 3 * ownLogSize / len(line) {
		log.Info(line, "i", i)
	}
	log.Info("last")
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != 2 {
		t.Errorf("%v, %v", files, err)
	}
	for _, file := range files {
		if info, err := os.Stat(file); err != nil || info.Size() > ownLogSize {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
	if data, err := os.ReadFile(path); !strings.Contains(string(data), "msg=last") || err != nil {
		t.Errorf("the last line is missing: %v", err)
	}
}
