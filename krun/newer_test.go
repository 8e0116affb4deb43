//go:build cgo && linux

package krun

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// apart runs the calling test again in its own process, and reports whether this is that
// process. It is needed because a library is never unloaded, and the linker finds a loaded
// one by its name.
func apart(t *testing.T) bool {
	t.Helper()
	if os.Getenv("KRUN_APART") == "1" {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.v", "-test.run=^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$")
	cmd.Env = append(os.Environ(), "KRUN_APART=1")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
	return false
}

// named builds a contract library with this name (its soname).
func named(t *testing.T, name, file string, flags ...string) string {
	t.Helper()
	return compile(t, file, append(flags, "-Wl,-soname,"+name)...)
}

// TestOlderAndNewer checks the error for a missing function: it says whether the libkrun
// is too old or too new.
func TestOlderAndNewer(t *testing.T) {
	second := "libkrun.so.2"
	for _, test := range []struct {
		name   string
		open   func(t *testing.T) Options
		symbol string // that is asked for
		want   Error  // of Open, if it has no symbol; the zero one for none
		says   string
	}{
		{"older", func(t *testing.T) Options { return Options{Path: compile(t, "1.17.0.so", "-DVERSION=11700")} },
			"krun_add_virtiofs3", Error{Symbol: "krun_add_virtiofs3", Since: "1.18.0", Err: ErrUnsupported}, "1.18.0 is the first that has it"},
		{"known", func(t *testing.T) Options { return Options{Path: named(t, libraryName, "known.so", "-DVERSION=11900")} },
			"krun_disable_implicit_vsock", Error{}, ""},
		{"newer minor version with more", func(t *testing.T) Options { return Options{Path: named(t, libraryName, "more.so", "-DVERSION=12000")} },
			"krun_disable_implicit_vsock", Error{}, ""},
		{"newer major version that kept the name", func(t *testing.T) Options { return Options{Path: named(t, libraryName, "kept.so", "-DVERSION=20000")} },
			"krun_disable_implicit_vsock", Error{Symbol: "krun_disable_implicit_vsock", Until: "2.0.0", Err: ErrNewer}, "libkrun 2.0.0 dropped it"},
		{"newer major version without a name", func(t *testing.T) Options { return Options{Path: compile(t, "nameless2.so", "-DVERSION=20000")} },
			"krun_disable_implicit_console", Error{Symbol: "krun_disable_implicit_console", Until: "2.0.0", Err: ErrNewer}, "newer than known"},
		{"what the newer version still has", func(t *testing.T) Options { return Options{Path: compile(t, "nameless2.so", "-DVERSION=20000")} },
			"krun_add_virtiofs3", Error{}, ""},
		{"the first of the functions dropped is gone", func(t *testing.T) Options {
			return Options{Path: compile(t, "silent.so", "-DVERSION=11900", "-Dkrun_set_snd_device=left_out")}
		}, "krun_set_snd_device", Error{Symbol: "krun_set_snd_device", Until: "2.0.0", Err: ErrNewer}, "libkrun 2.0.0 dropped it"},
		{"built without networks", func(t *testing.T) Options {
			return Options{Path: compile(t, "lonely.so", "-DVERSION=11900", "-Dkrun_set_passt_fd=left_out")}
		}, "krun_set_passt_fd", Error{Symbol: "krun_set_passt_fd", Err: ErrUnsupported}, "left out of this build"},
		{"a newer name with all functions", func(t *testing.T) Options { return Options{Path: named(t, second, "all2.so", "-DVERSION=11900")} },
			"", Error{Err: ErrNewer}, "all2.so is of a later major version"},
		{"a newer name with none", func(t *testing.T) Options { return Options{Path: named(t, second, "none2.so", "-DFIRMWARE")} },
			"", Error{Err: ErrNewer}, "none2.so"},
		{"only a newer one is found", func(t *testing.T) Options {
			return Options{Dirs: []string{t.TempDir(), directory(t, second, named(t, second, "all2.so", "-DVERSION=11900"))}}
		}, "", Error{Err: ErrNewer}, "libkrun.so.2"},
		{"a newer one is found before the known", func(t *testing.T) Options {
			return Options{Dirs: []string{directory(t, second, named(t, second, "all2.so", "-DVERSION=11900")),
				directory(t, libraryName, named(t, libraryName, "known.so", "-DVERSION=11900"))}}
		}, "krun_disable_implicit_vsock", Error{}, ""},
		{"a known one under a newer file name, too", func(t *testing.T) Options {
			dir := directory(t, libraryName, named(t, libraryName, "known.so", "-DVERSION=11900"))
			if err := os.Symlink(libraryName, filepath.Join(dir, second)); err != nil {
				t.Fatal(err)
			}
			return Options{Path: filepath.Join(dir, second)}
		}, "krun_disable_implicit_vsock", Error{}, ""},
		{"a broken known one beside a newer", func(t *testing.T) Options {
			return Options{Dirs: []string{directory(t, libraryName, "contract_test.go"), directory(t, second, named(t, second, "all2.so", "-DVERSION=11900"))}}
		}, "", Error{Err: ErrNoLibrary}, "invalid ELF header"},
	} {
		t.Run(strings.ReplaceAll(test.name, " ", "_"), func(t *testing.T) {
			if !apart(t) {
				return
			}
			o := test.open(t)
			o.NoFirmware = true
			lib, err := Open(o)
			if test.symbol != "" && err == nil {
				err = lib.Require("krun_create_ctx", test.symbol)
			}
			if test.want.Err == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var got *Error
			if !errors.As(err, &got) {
				t.Fatal(err)
			}
			got.Detail, test.want.Detail = "", got.Detail
			if *got != (Error{Symbol: test.want.Symbol, Since: test.want.Since, Until: test.want.Until, Err: got.Err}) || !errors.Is(err, test.want.Err) {
				t.Errorf("%+v, want %+v", *got, test.want)
			}
			got.Detail = test.want.Detail
			if !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("it says %q", err)
			}
			if test.symbol != "" && !errors.Is(err, errors.ErrUnsupported) {
				t.Error("it is no errors.ErrUnsupported")
			}
		})
	}
}

// TestNewerBeforeFirmware has a newer libkrun, which needs another libkrunfw. The error
// has to say that the libkrun is newer than known, not that a libkrunfw is missing.
func TestNewerBeforeFirmware(t *testing.T) {
	const firmware = "/nonexistent/libkrunfw.so.5"
	for name, test := range map[string]struct {
		open func(t *testing.T) Options
		want error
		says string
	}{
		"by its path": {func(t *testing.T) Options {
			return Options{Path: named(t, "libkrun.so.2", "all2.so", "-DVERSION=11900"), Firmware: firmware}
		}, ErrNewer, ""},
		"found": {func(t *testing.T) Options {
			newer := named(t, "libkrun.so.2", "all2.so", "-DVERSION=11900")
			return Options{Dirs: []string{directory(t, "libkrun.so.2", newer)}, Firmware: firmware}
		}, ErrNewer, ""},
		"known": {func(t *testing.T) Options {
			return Options{Path: named(t, libraryName, "known.so", "-DVERSION=11900"), Firmware: firmware}
		}, ErrNoLibrary, "libkrunfw.so.5"},
	} {
		// The linker loads only one library of a name, so each case has its own process.
		t.Run(name, func(t *testing.T) {
			if !apart(t) {
				return
			}
			if _, err := Open(test.open(t)); !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Error(err)
			}
		})
	}
}
