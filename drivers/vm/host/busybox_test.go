package host

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"openshell-vm/drivers/driverstest"
)

// fakeBusyBox makes a static program that lists applets.
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
	h := New(Config{BusyBox: fakeBusyBox(t)})
	root := filepath.Join(t.TempDir(), "root")
	if err := h.MakeRoot(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	checkUserland(t, root)
	stock, err := h.Stock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		name, _ := filepath.Rel(root, path)
		text, ok := stock[name]
		if !ok && name != "." {
			t.Errorf("%s is not in stock", name)
		}
		delete(stock, name)
		if data, _ := os.ReadFile(path); text != "" && string(data) != text {
			t.Errorf("%s holds %q", name, data)
		}
		return err
	})
	if err != nil || len(stock) > 0 {
		t.Errorf("%v; in stock and not there: %v", err, stock)
	}
}

func checkUserland(t *testing.T, root string) {
	t.Helper()
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
}

// TestADamagedRootIsMadeAnew damages a root as clean-ups, power cuts and others do.
func TestADamagedRootIsMadeAnew(t *testing.T) {
	h := New(Config{BusyBox: fakeBusyBox(t)})
	root := filepath.Join(t.TempDir(), "root")
	in := func(name string) string { return filepath.Join(root, name) }
	for name, damage := range map[string]func() error{
		"nothing":            func() error { return nil },
		"no busybox":         func() error { return os.Remove(in("bin/busybox")) },
		"an empty busybox":   func() error { return os.Truncate(in("bin/busybox"), 0) },
		"another busybox":    func() error { return os.WriteFile(in("bin/busybox"), []byte("evil"), 0o755) },
		"no applets":         func() error { return os.RemoveAll(in("usr")) },
		"another applet":     func() error { return errors.Join(os.Remove(in("bin/sh")), os.Symlink("/evil", in("bin/sh"))) },
		"an empty file":      func() error { return os.Truncate(in("etc/passwd"), 0) },
		"a link":             func() error { return errors.Join(os.RemoveAll(root), os.Symlink(t.TempDir(), root)) },
		"only the directory": func() error { return errors.Join(os.RemoveAll(root), os.Mkdir(root, 0o700)) },
	} {
		if err := h.MakeRoot(t.Context(), root); err != nil {
			t.Fatal(err)
		}
		if err := damage(); err != nil {
			t.Fatal(name, err)
		}
		if err := h.MakeRoot(t.Context(), root); err != nil {
			t.Fatal(name, err)
		}
		checkUserland(t, root)
		same(t, in("bin/busybox"), h.BusyBox)
	}
}

func same(t *testing.T, name, as string) {
	t.Helper()
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(as)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not %s: %v", name, as, err)
	}
}

// TestRootsOfOlderVersions checks that the default root in older records, a path in the cache, still
// means the default root, wherever the cache is now.
func TestRootsOfOlderVersions(t *testing.T) {
	for rootfs, own := range map[string]bool{
		"": true, "/var/cache/openshell-vm/userland/busybox-1-1982256-18ad1b2c3d4e5f60": true,
		"/home/u/.cache/openshell-vm/userland/busybox-1-1-0": true, "/srv/userland/busybox": false, "/srv/debian": false,
		"/userland/busybox-1-1-0/bin": false,
	} {
		if OwnRoot(rootfs) != own {
			t.Errorf("%q: not %v", rootfs, own)
		}
	}
}

func TestNoStaticBusyBox(t *testing.T) {
	h := New(Config{BusyBox: "/nowhere/busybox"})
	_, err := h.busyBox(t.Context())
	driverstest.Refused(t, err, "make the default root: no busybox is installed")

	dynamic := filepath.Join(t.TempDir(), "busybox")
	if err := os.WriteFile(dynamic, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	h.BusyBox = dynamic
	_, err = h.busyBox(t.Context())
	driverstest.Refused(t, err, "busybox: it is no program")
}
