package initramfs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"openshell-vm/drivers/vm/guest"
	"openshell-vm/internal/atomicfile"
	"openshell-vm/internal/plainfile"
)

// Names in the cache directory. Only this package uses the directory.
const (
	cachePrefix = "initramfs-"
	cacheSuffix = ".cpio"
	tempPattern = ".new-*"
)

// keptUnused is how long an archive stays without being used.
const keptUnused = 30 * 24 * time.Hour

// Cached returns the path of the initramfs for k with the program init in it. It builds
// the archive if dir has none that fits and is whole. Several processes may call it at
// once: a file in dir is whole when it appears, and never changes.
//
// An archive fits if size, times and inodes of init and of the modules' lists are the
// same; it does not compare contents. An archive is whole if length and checksum are those
// in its name: clean-up programs, full disks and power cuts leave others. Both checks
// together take a few milliseconds. Cached makes dir, with mode 0700, if it is missing.
// When it builds an archive, it removes those that were not used for a month.
func Cached(dir string, k Kernel, init string) (string, error) {
	key, err := cacheKey(k, init)
	if err != nil {
		return "", err
	}
	now := time.Now()
	if name := find(dir, key); name != "" {
		_ = os.Chtimes(name, now, now) // if it fails, the archive is built anew in a month
		return name, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	name, err := build(dir, key, func(w io.Writer) error { return Write(w, k, init) })
	if err != nil {
		return "", fmt.Errorf("build the initramfs for kernel %s: %w", k.Release, err)
	}
	prune(dir, now.Add(-keptUnused))
	return name, nil
}

// find returns a whole archive with this key, or "". It does not remove a damaged one:
// another process may have put a whole one in its place meanwhile.
func find(dir, key string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), cachePrefix+key) && whole(name, key) {
			return name
		}
	}
	return ""
}

// whole reports whether a file has the length and checksum in its name.
func whole(name, key string) bool {
	f, err := plainfile.Open(name, os.O_RDONLY, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	sum := newSum()
	_, err = io.Copy(sum, f)
	return err == nil && filepath.Base(name) == sum.name(key)
}

// sum counts the length and checksum of what is written to it. The checksum finds damage,
// not malice: whoever can write here can do all that the gateway can.
type sum struct {
	hash.Hash32
	length int64
}

func newSum() *sum { return &sum{Hash32: crc32.New(crc32.MakeTable(crc32.Castagnoli))} }

func (s *sum) Write(p []byte) (int, error) {
	s.length += int64(len(p))
	return s.Hash32.Write(p)
}

func (s *sum) name(key string) string {
	return fmt.Sprintf("%s%s-%d-%08x%s", cachePrefix, key, s.length, s.Sum32(), cacheSuffix)
}

// build writes a file under a temporary name and renames it when it is whole.
func build(dir, key string, write func(io.Writer) error) (string, error) {
	f, err := atomicfile.Create(filepath.Join(dir, tempPattern))
	if err != nil {
		return "", err
	}
	defer f.Discard()
	sum := newSum()
	if err := write(io.MultiWriter(f, sum)); err != nil {
		return "", err
	}
	name := filepath.Join(dir, sum.name(key))
	if info, err := os.Lstat(name); err == nil && info.IsDir() { // not ours, and in the way
		if err := os.RemoveAll(name); err != nil {
			return "", err
		}
	}
	return name, f.Commit(name, atomicfile.Whole)
}

// prune removes archives that were last used before the given time, and what killed
// builders left. It ignores errors: the next one tries again.
func prune(dir string, before time.Time) {
	for _, pattern := range []string{cachePrefix + "*" + cacheSuffix, tempPattern} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			continue
		}
		for _, name := range names {
			if info, err := os.Stat(name); err == nil && info.ModTime().Before(before) {
				os.Remove(name)
			}
		}
	}
}

// cacheKey identifies an archive by what goes into it. modules.dep stands for the
// modules: depmod writes it anew whenever one of them changes.
func cacheKey(k Kernel, init string) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "format %d\nrelease %s\nmodules %s\n", guest.InitramfsFormat, k.Release, k.Modules)
	files := []string{init, filepath.Join(k.Modules, "modules.dep"), filepath.Join(k.Modules, "modules.builtin")}
	for _, file := range files {
		var st syscall.Stat_t
		err := syscall.Stat(file, &st)
		if errors.Is(err, fs.ErrNotExist) && file != init {
			fmt.Fprintf(h, "%s absent\n", file)
			continue
		} else if err != nil {
			return "", &fs.PathError{Op: "stat", Path: file, Err: err}
		}
		fmt.Fprintf(h, "%s %d %d %d %d %d\n", file, st.Dev, st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano())
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}
