//go:build cgo && linux

package krun

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOpen(t *testing.T) {
	lib := compile(t, "1.19.0.so", "-DVERSION=11900")
	older := compile(t, "1.16.0.so", "-DVERSION=11600")
	fw5 := compile(t, firmware5, "-DFIRMWARE", "-Wl,-soname,"+firmware5)
	fw4 := compile(t, firmware4, "-DFIRMWARE", "-Wl,-soname,"+firmware4)
	nameless := compile(t, "nameless.so", "-DFIRMWARE", "-Wl,-soname,libother.so.1")
	both := filepath.Dir(fw5)
	ours := directory(t, libraryName, lib)
	broken := directory(t, libraryName, "contract_test.go")
	impostor := directory(t, firmware5, nameless)
	brokenFirmware := directory(t, firmware5, "contract_test.go")

	for _, test := range []struct {
		name           string
		options        Options
		path, firmware string // what is loaded, or
		err            string // what the error says
	}{
		{"no firmware by its name", Options{Path: lib, Firmware: nameless}, "", "", "by its own name"},
		{"firmware under another's name", Options{Path: lib, Firmware: filepath.Join(impostor, firmware5)}, "", "", "by its own name"},
		{"firmware missing", Options{Path: lib, Firmware: "/nonexistent/fw.so"}, "", "", "/nonexistent/fw.so"},
		{"firmware is something else", Options{Path: lib, Firmware: lib}, "", "", "krunfw_get_kernel"},
		{"firmware of an older libkrun", Options{Path: lib, Firmware: fw4}, "", "", "not " + firmware5},
		{"firmware of a newer libkrun", Options{Path: older, Firmware: fw5}, "", "", "not " + firmware4},
		{"the older firmware is found", Options{Path: older, Dirs: []string{both}}, older, fw4, ""},
		{"the newer firmware is found", Options{Path: lib, Dirs: []string{both}}, lib, fw5, ""},
		{"broken firmware in our directory", Options{Path: lib, Dirs: []string{brokenFirmware, both}}, "", "", filepath.Join(brokenFirmware, firmware5)},
		{"explicit", Options{Path: lib, Firmware: fw5}, lib, fw5, ""},
		{"explicit and missing is not searched for", Options{Path: "/nonexistent/krun.so", Dirs: []string{ours}, NoFirmware: true}, "", "", "/nonexistent/krun.so"},
		{"libkrun is something else", Options{Path: fw5, NoFirmware: true}, "", "", "krun_create_ctx"},
		{"our directory", Options{Dirs: []string{t.TempDir(), ours}, NoFirmware: true}, filepath.Join(ours, libraryName), "", ""},
		{"broken in our directory", Options{Dirs: []string{broken, ours}, NoFirmware: true}, "", "", filepath.Join(broken, libraryName)},
	} {
		t.Run(test.name, func(t *testing.T) {
			l, err := Open(test.options)
			if test.err != "" {
				if l != nil || !errors.Is(err, ErrNoLibrary) || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("%v, %v", l, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if l.Path() != test.path || l.Firmware() != test.firmware {
				t.Errorf("loaded %s and %q", l.Path(), l.Firmware())
			}
		})
	}
}

// TestFoundNowhere checks that the error names the directories that were searched, and
// has the linker's error for the system's library.
func TestFoundNowhere(t *testing.T) {
	if handle, _ := load(libraryName, false); handle != nil {
		t.Skip("this machine has a libkrun")
	}
	_, err := Open(Options{Dirs: []string{"/some/where", "/else/where"}, NoFirmware: true})
	if err == nil || !strings.Contains(err.Error(), "/some/where or /else/where") || !strings.Contains(err.Error(), libraryName) {
		t.Error(err)
	}
	if strings.Count(err.Error(), "\n") != 0 {
		t.Errorf("more than a line: %q", err)
	}
}

// directory makes a directory with a copy of a file.
func directory(t *testing.T, name, content string) string {
	t.Helper()
	dir := t.TempDir()
	data, err := os.ReadFile(content)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name), data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
