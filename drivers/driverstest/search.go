package driverstest

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"openshell-vm/drivers/driverstest/content"
)

// formsOf are the forms in which a token's secret part could be kept: as it
// is, and as base64 at each of the three alignments, less what depends on its
// neighbours.
func formsOf(t testing.TB, token []byte) []string {
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

// searchProcesses looks for the needles in these files of every process that
// may be read: cmdline, environ, mountinfo.
func searchProcesses(t testing.TB, needles []string, names ...string) (found []string) {
	t.Helper()
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, process := range processes {
		for _, name := range names {
			data, err := os.ReadFile(filepath.Join(process, name)) // gone, or another user's
			if err == nil && containsAny(string(data), needles) {
				found = append(found, filepath.Join(process, name))
			}
		}
	}
	return found
}

func containsAny(text string, needles []string) bool {
	return slices.ContainsFunc(needles, func(n string) bool { return strings.Contains(text, n) })
}
