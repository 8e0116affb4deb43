package main

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOneVersion: what the end-to-end tests look for is found.
func TestOneVersion(t *testing.T) {
	sealed := func(lines string) string {
		sum := sha256.Sum256([]byte(lines))
		return lines + hex.EncodeToString(sum[:]) + "\n"
	}
	one, two := sealed("version 1\nversion 1\n"), sealed("version 2\n")
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "..data"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ a, b, says string }{
		"whole":               {one, one, ""},
		"of two versions":     {one, two, "a is of version 1, and b of 2"},
		"torn at the end":     {one, one[:len(one)-5], "torn"},
		"torn at the begin":   {one[5:], one, "torn"},
		"two in one":          {sealed("version 1\nversion 2\n"), one, "torn: not all lines"},
		"empty":               {"", one, "torn"},
		"without any version": {sealed("x\n"), one, "no version"},
	} {
		t.Run(name, func(t *testing.T) {
			for file, text := range map[string]string{"a": c.a, "b": c.b} {
				if err := os.WriteFile(filepath.Join(dir, "..data", file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			version, err := oneVersion(dir, []string{"a", "b"})
			if c.says == "" && (err != nil || version != 1) || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("version %d, %v", version, err)
			}
		})
	}
	if _, err := oneVersion(dir, []string{"a", "missing"}); err == nil {
		t.Error("a missing file is not told")
	}
}
