package initramfs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"openshell-vm/drivers/vm/guest"
)

// Names in the cache directory, which is this package's alone.
const (
	cachePrefix = "initramfs-"
	cacheSuffix = ".cpio"
	tempPattern = ".new-*"
)

// keptUnused is how long an archive that no boot has asked for stays.
const keptUnused = 30 * 24 * time.Hour

// Cached gives the path of the initramfs for k with the program init in it,
// and builds it first if dir holds none that fits. It may be called by several
// processes at once: a file in dir is whole, and never changes.
//
// What fits is told by size, times and inode of the kernel's and init's files,
// not by their content: a look-up takes well under a millisecond. dir is made
// (0700) if it is missing. Archives that were not asked for in a month are
// removed when one is built.
func Cached(dir string, k Kernel, init string) (string, error) {
	key, err := cacheKey(k, init)
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, cachePrefix+key+cacheSuffix)
	now := time.Now()
	if os.Chtimes(name, now, now) == nil {
		return name, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	if err := build(name, func(w io.Writer) error { return Write(w, k, init) }); err != nil {
		return "", fmt.Errorf("build the initramfs for kernel %s: %w", k.Release, err)
	}
	prune(dir, now.Add(-keptUnused))
	return name, nil
}

// build writes a file under a temporary name and renames it when it is whole.
func build(name string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(name), tempPattern)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := write(f); err != nil {
		return err
	}
	// A power cut must not leave a short file under the final name.
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// prune removes what was last used before the given time: other archives, and
// what builders that were killed left. It is housekeeping; its errors are not.
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

// cacheKey names an archive by what goes into it. modules.dep stands for the
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
