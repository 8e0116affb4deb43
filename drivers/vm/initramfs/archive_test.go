package initramfs

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cavaliergopher/cpio"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"openshell-vm/drivers/vm/guest"
)

// packed packs content as distributions pack modules.
func packed(t *testing.T, suffix, content string) string {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch suffix {
	case ".xz":
		w, err = xz.NewWriter(&b)
	case ".gz":
		w = gzip.NewWriter(&b)
	case ".zst":
		w, err = zstd.NewWriter(&b)
	default:
		return content
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// kernelFor makes a kernel with packed modules.
func kernelFor(t *testing.T, suffix string) (k Kernel, init string) {
	t.Helper()
	dir := t.TempDir()
	deps := strings.ReplaceAll(debian12, ".ko", ".ko"+suffix)
	k = Kernel{Image: "vmlinuz", Release: "6.1", Modules: modulesDir(t, filepath.Join(dir, "modules"), deps, usable)}
	for line := range strings.Lines(deps) {
		file, _, _ := strings.Cut(line, ":")
		write(t, filepath.Join(k.Modules, file), packed(t, suffix, "code of "+moduleName(file)))
	}
	init = filepath.Join(dir, "openshell-init")
	write(t, init, "the init")
	return k, init
}

// unpack reads an archive: the names in order, and each file's content.
func unpack(t *testing.T, archive []byte) (names []string, files map[string]string) {
	t.Helper()
	files = map[string]string{}
	r := cpio.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return names, files
		} else if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.Mode.IsRegular() {
			files[h.Name] = string(data)
		}
		if h.Name == "init" && h.Mode.Perm() != 0o755 {
			t.Errorf("init has mode %v", h.Mode)
		}
	}
}

func TestWrite(t *testing.T) {
	for _, suffix := range []string{"", ".xz", ".gz", ".zst"} {
		t.Run("modules"+suffix, func(t *testing.T) {
			k, init := kernelFor(t, suffix)
			var archive, again bytes.Buffer
			if err := errors.Join(Write(&archive, k, init), Write(&again, k, init)); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(archive.Bytes(), again.Bytes()) {
				t.Error("the same input gave two archives")
			}
			names, files := unpack(t, archive.Bytes())
			if files["init"] != "the init" {
				t.Errorf("init is %q", files["init"])
			}
			for _, dir := range guest.InitramfsDirs {
				if !slices.Contains(names, strings.TrimPrefix(dir, "/")) {
					t.Errorf("%s is missing in %q", dir, names)
				}
			}
			order, err := loadOrder(k.Modules)
			if err != nil {
				t.Fatal(err)
			}
			var modules []string
			for _, name := range names {
				if strings.HasSuffix(name, ".ko") {
					modules = append(modules, name)
				}
			}
			if !slices.IsSorted(modules) || len(modules) != len(order) {
				t.Fatalf("the modules are %q, want those of %q in the order of their names", modules, order)
			}
			for i, file := range order {
				if want := "code of " + moduleName(file); files[modules[i]] != want {
					t.Errorf("%s holds %q, want %q", modules[i], files[modules[i]], want)
				}
			}
		})
	}
}

func TestWriteFails(t *testing.T) {
	k, init := kernelFor(t, ".xz")
	if err := Write(io.Discard, k, init+".missing"); err == nil {
		t.Error("a missing init is no error")
	}
	write(t, filepath.Join(k.Modules, "kernel/fs/fuse/fuse.ko.xz"), "not packed")
	if err := Write(io.Discard, k, init); err == nil || !strings.Contains(err.Error(), "fuse.ko.xz") {
		t.Errorf("a broken module gives %v", err)
	}
}

func TestCached(t *testing.T) {
	k, init := kernelFor(t, "")
	dir := filepath.Join(t.TempDir(), "cache", "initramfs")
	first, err := Cached(dir, k, init)
	if err != nil {
		t.Fatal(err)
	}
	before := stat(t, first)
	if again, err := Cached(dir, k, init); err != nil || again != first || !os.SameFile(stat(t, again), before) {
		t.Errorf("the second call gave %s, %v, or built it anew", again, err)
	}
	if mode := stat(t, dir).Mode().Perm(); mode != 0o700 {
		t.Errorf("the cache has mode %v", mode)
	}

	write(t, init+".new", "another init")
	if err := os.Rename(init+".new", init); err != nil {
		t.Fatal(err)
	}
	second, err := Cached(dir, k, init)
	if err != nil || second == first {
		t.Fatalf("another init gave %s, %v", second, err)
	}
	data, err := os.ReadFile(second)
	if err != nil {
		t.Fatal(err)
	}
	if _, files := unpack(t, data); files["init"] != "another init" {
		t.Errorf("init is %q", files["init"])
	}

	write(t, filepath.Join(k.Modules, "modules.dep"), debian12+"kernel/new.ko:\n")
	if third, err := Cached(dir, k, init); err != nil || third == second {
		t.Errorf("other modules gave %s, %v", third, err)
	}
	k.Release = "6.2"
	if fourth, err := Cached(dir, k, init); err != nil || fourth == second {
		t.Errorf("another release gave %s, %v", fourth, err)
	}
	if entries := list(t, dir); len(entries) != 4 {
		t.Errorf("the cache holds %q", entries)
	}
}

// TestADamagedArchiveIsBuiltAnew puts into the cache what clean-ups, full disks and power cuts leave,
// and what older versions made.
func TestADamagedArchiveIsBuiltAnew(t *testing.T) {
	k, init := kernelFor(t, "")
	dir := t.TempDir()
	first, err := Cached(dir, k, init)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	key, err := cacheKey(k, init)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(want)
	flipped[len(flipped)/2] ^= 1
	for name, damage := range map[string]func() error{
		"gone":          func() error { return os.Remove(first) },
		"all gone":      func() error { return os.RemoveAll(dir) },
		"empty":         func() error { return os.Truncate(first, 0) },
		"cut":           func() error { return os.Truncate(first, int64(len(want)/2)) },
		"longer":        func() error { return os.WriteFile(first, append(bytes.Clone(want), 0), 0o600) },
		"zero":          func() error { return os.WriteFile(first, make([]byte, len(want)), 0o600) },
		"one bit":       func() error { return os.WriteFile(first, flipped, 0o600) },
		"a directory":   func() error { return errors.Join(os.Remove(first), os.MkdirAll(first+"/x", 0o700)) },
		"a dangling":    func() error { return errors.Join(os.Remove(first), os.Symlink("/nowhere", first)) },
		"an older name": func() error { return os.Rename(first, filepath.Join(dir, cachePrefix+key+cacheSuffix)) },
	} {
		if err := damage(); err != nil {
			t.Fatal(name, err)
		}
		again, err := Cached(dir, k, init)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := os.ReadFile(again); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: it was taken as it is (%v)", name, err)
		}
		if again != first {
			t.Errorf("%s: it is %s now", name, again)
		}
	}
}

func TestCachedForgetsWhatIsUnused(t *testing.T) {
	k, init := kernelFor(t, "")
	dir := t.TempDir()
	long := time.Now().Add(-2 * keptUnused)
	for name, used := range map[string]time.Time{
		cachePrefix + "old" + cacheSuffix: long, cachePrefix + "young" + cacheSuffix: time.Now(), ".new-1": long, "other": long,
	} {
		file := filepath.Join(dir, name)
		write(t, file, "")
		if err := os.Chtimes(file, used, used); err != nil {
			t.Fatal(err)
		}
	}
	built, err := Cached(dir, k, init)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Base(built), cachePrefix + "young" + cacheSuffix, "other"}
	slices.Sort(want)
	if got := list(t, dir); !slices.Equal(got, want) {
		t.Errorf("the cache holds %q, want %q", got, want)
	}
}

func TestCachedLeavesNothingAfterAnError(t *testing.T) {
	k, init := kernelFor(t, "")
	dir := t.TempDir()
	if err := os.Remove(filepath.Join(k.Modules, "kernel/fs/fuse/fuse.ko")); err != nil {
		t.Fatal(err)
	}
	if _, err := Cached(dir, k, init); err == nil {
		t.Error("a missing module is no error")
	}
	if got := list(t, dir); len(got) != 0 {
		t.Errorf("the cache holds %q", got)
	}
	if _, err := Cached(dir, k, init+".missing"); err == nil {
		t.Error("a missing init is no error")
	}
}

func TestCachedByMany(t *testing.T) {
	k, init := kernelFor(t, "")
	dir := t.TempDir()
	var wg sync.WaitGroup
	errs := make(chan error, 20)
	for range cap(errs) {
		wg.Go(func() {
			name, err := Cached(dir, k, init)
			if err == nil {
				var data []byte
				if data, err = os.ReadFile(name); err == nil && !bytes.Contains(data, []byte("TRAILER!!!")) {
					err = fmt.Errorf("%s is not whole", name)
				}
			}
			errs <- err
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	if got := list(t, dir); len(got) != 1 {
		t.Errorf("the cache holds %q", got)
	}
}

func BenchmarkCached(b *testing.B) {
	k, err := FindKernel(Search{})
	if err != nil {
		b.Skip(err)
	}
	init, dir := os.Args[0], b.TempDir()
	if _, err := Cached(dir, k, init); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Cached(dir, k, init); err != nil {
			b.Fatal(err)
		}
	}
}

func stat(t *testing.T, name string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func list(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
