package host

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"openshell-vm/drivers"
)

func TestCopySparse(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	f, err := os.Create(from)
	if err != nil {
		t.Fatal(err)
	}
	pieces := map[int64]string{0: "begin", 5 << 20: "middle", 40<<20 - 3: "end"}
	for at, text := range pieces {
		if _, err := f.WriteAt([]byte(text), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(64 << 20); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := os.WriteFile(to, bytes.Repeat([]byte("old"), 1000), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := copySparse(opened(t, from), to); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(to)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
	}
}

// TestADamagedTemplateIsMadeAnew damages the template in the cache as clean-ups and power cuts do.
func TestADamagedTemplateIsMadeAnew(t *testing.T) {
	if _, err := findMkfs(); err != nil {
		t.Skip(err)
	}
	h := New(Config{CacheDir: t.TempDir()})
	template := h.cached(cacheUpper)
	made := filepath.Join(t.TempDir(), "upper")
	for _, tc := range []struct { // in this order: "cut" cuts what "zero" left
		name   string
		damage func() error
	}{
		{"missing", func() error { return nil }},
		{"empty", func() error { return os.WriteFile(template, nil, 0o600) }},
		{"zero", func() error {
			return errors.Join(os.WriteFile(template, nil, 0o600), os.Truncate(template, DefaultDisk))
		}},
		{"cut", func() error { return os.Truncate(template, 1<<20) }},
		{"another", func() error { return newUpper(t.Context(), template, minDisk) }},
	} {
		if err := tc.damage(); err != nil {
			t.Fatal(err)
		}
		if err := h.MakeUpper(t.Context(), made, DefaultDisk); err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if !wholeFileSystem(opened(t, made), DefaultDisk) {
			t.Errorf("%s: the disk is no whole file system", tc.name)
		}
	}
}

// TestNoCache checks that an unusable cache costs only time.
func TestNoCache(t *testing.T) {
	if _, err := findMkfs(); err != nil {
		t.Skip(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h := New(Config{CacheDir: filepath.Join(file, "cache")})
	made := filepath.Join(t.TempDir(), "upper")
	if err := h.MakeUpper(t.Context(), made, DefaultDisk); err != nil {
		t.Fatal(err)
	}
	if !wholeFileSystem(opened(t, made), DefaultDisk) {
		t.Error("the disk is no whole file system")
	}
	if r := h.KVM(t.Context(), "any"); strings.Contains(r.Reason, file) {
		t.Errorf("whether KVM works: %+v", r)
	}
}

func opened(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestDisksOfEachSize(t *testing.T) {
	if _, err := findMkfs(); err != nil {
		t.Skip(err)
	}
	h := New(Config{CacheDir: t.TempDir()})
	for size := int64(maxDisk); size >= minDisk; size /= 2 {
		path := filepath.Join(t.TempDir(), "upper")
		if err := h.MakeUpper(t.Context(), path, size); err != nil {
			t.Fatal(size, err)
		}
		if !wholeFileSystem(opened(t, path), size) {
			t.Errorf("no whole file system of %d bytes", size)
		}
	}
}

func TestDiskSizes(t *testing.T) {
	for wanted, text := range map[int64]string{
		1: "give the VM a disk: 1B were asked for, the limit is 64MiB", 63 << 20: "63MiB were asked for", 2 << 40: "the limit is 1TiB",
	} {
		if _, err := CheckDisk(wanted, "/"); err == nil || !strings.Contains(err.Error(), text) || drivers.HintOf(err) == "" {
			t.Errorf("%d: %v", wanted, err)
		}
	}
	if got, err := CheckDisk(64<<20+1, "/"); got != 65<<20 || err != nil {
		t.Errorf("rounded up: %d, %v", got, err)
	}
	got, err := CheckDisk(0, filepath.Join(t.TempDir(), "not", "made", "yet"))
	if err != nil || got < minDisk || got > DefaultDisk {
		t.Errorf("the default: %d, %v", got, err)
	}
}
