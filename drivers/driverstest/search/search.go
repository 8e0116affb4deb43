// Package search looks for a secret where none may be.
package search

import (
	"encoding/base64"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"openshell-vm/drivers/driverstest/content"
)

// Forms are the forms in which a token's secret part could be kept: as it is, and as
// base64 at each of the three alignments. Of those the ends are left out, because they
// depend on what stands beside it.
func Forms(t testing.TB, token []byte) []string {
	t.Helper()
	signature, err := content.Signature(token)
	if err != nil {
		t.Fatal(err)
	}
	forms := []string{signature}
	for pad := range 3 {
		encoded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", pad) + signature))
		forms = append(forms, encoded[4:len(encoded)-4])
	}
	return forms
}

// Processes looks for the needles in these files of every process that
// may be read: cmdline, environ, mountinfo.
func Processes(t testing.TB, needles []string, names ...string) (found []string) {
	t.Helper()
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, process := range processes {
		for _, name := range names {
			data, err := os.ReadFile(filepath.Join(process, name)) // gone, or another user's
			if err == nil && Contains(string(data), needles) {
				found = append(found, filepath.Join(process, name))
			}
		}
	}
	return found
}

// Contains says whether any of the needles is in text.
func Contains(text string, needles []string) bool {
	return slices.ContainsFunc(needles, func(n string) bool { return strings.Contains(text, n) })
}

// File reads up to 1 MiB of a file, which is enough for records and logs.
func File(t *testing.T, path string, needles []string) int {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	for _, needle := range needles {
		if strings.Contains(string(data), needle) {
			t.Errorf("a token is in %s", path)
		}
	}
	return len(data)
}
