package vm

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// fakeBusyBox is a static program that lists applets.
func fakeBusyBox(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	program := filepath.Join(dir, "busybox")
	text := `package main

import "fmt"

func main() { fmt.Println("bin/busybox\nbin/sh\nusr/bin/awk\n../evil\nlinuxrc") }
`
	if err := os.WriteFile(source, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", program, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

func TestUserland(t *testing.T) {
	busybox := fakeBusyBox(t)
	d := New(Config{CacheDir: t.TempDir(), BusyBox: busybox})
	root, err := d.userland(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, applet := range []string{"bin/sh", "usr/bin/awk", "linuxrc"} {
		if to, err := os.Readlink(filepath.Join(root, applet)); to != "/bin/busybox" || err != nil {
			t.Errorf("%s: %q, %v", applet, to, err)
		}
	}
	for name, mode := range map[string]os.FileMode{
		".": os.ModeDir | 0o755, "tmp": os.ModeDir | os.ModeSticky | 0o777, "root": os.ModeDir | 0o700,
		"bin/busybox": 0o755, "etc/passwd": 0o644,
	} {
		info, err := os.Stat(filepath.Join(root, name))
		if err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v; want %v", name, info.Mode(), err, mode)
		}
	}
	if _, err := os.Lstat(filepath.Join(filepath.Dir(root), "evil")); !os.IsNotExist(err) {
		t.Errorf("an applet's name leads out of the root: %v", err)
	}

	again, err := d.userland(t.Context())
	if again != root || err != nil {
		t.Errorf("made twice: %s, %v", again, err)
	}
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(busybox, later, later); err != nil {
		t.Fatal(err)
	}
	if other, err := d.userland(t.Context()); other == root || err != nil {
		t.Errorf("another busybox has the same root: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(root), ".new-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestNoStaticBusyBox(t *testing.T) {
	d := New(Config{CacheDir: t.TempDir(), BusyBox: "/nowhere/busybox"})
	_, err := d.userland(t.Context())
	refused(t, err, "make the default root: no busybox is installed")

	dynamic := filepath.Join(t.TempDir(), "busybox")
	if err := os.WriteFile(dynamic, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	d.cfg.BusyBox = dynamic
	_, err = d.userland(t.Context())
	refused(t, err, "busybox: it is no program")
}
