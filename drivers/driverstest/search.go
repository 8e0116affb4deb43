package driverstest

import (
	"encoding/base64"
	"os"
	"path/filepath"
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

// searchProcesses looks for the needles in the arguments and the environment
// of every process that may be read.
func searchProcesses(t testing.TB, needles []string) (found []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		if name := filepath.Base(path); name != "cmdline" && name != "environ" {
			continue
		}
		data, err := os.ReadFile(path) // gone, or another user's
		if err != nil {
			continue
		}
		for _, needle := range needles {
			if strings.Contains(string(data), needle) {
				found = append(found, path)
				break
			}
		}
	}
	return found
}
