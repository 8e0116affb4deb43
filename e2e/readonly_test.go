//go:build e2e

package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestShareIsReadOnlyInside tries every kind of write as the guest's root, first as mounted and
// then after a remount as writable. Each has to fail with EROFS, and the host's tree must not
// change by a byte.
func TestShareIsReadOnlyInside(t *testing.T) {
	eachUser(t, func(t *testing.T, w *world) {
		s := w.start("ro", "1h", "--user", "0")
		before := treeHash(t, s.Share)
		// The remount may succeed or fail. Only what it lets through counts.
		for _, prepare := range []string{"true", "mount -o remount,rw,bind /etc/openshell/auth; mount -o remount,rw /etc/openshell/auth; true"} {
			out := w.run("exec", "ro", "/witness/writer", "-prepare", prepare, "/etc/openshell/auth")
			lines := strings.Split(strings.TrimSpace(out), "\n")
			for _, line := range lines {
				name, errno, _ := strings.Cut(line, " ")
				if name == "setxattr" && errno == "ENOTSUP" {
					continue // the file system that the guest sees has no attributes at all
				}
				if errno != "EROFS" {
					t.Errorf("after %q: %s gave %s, EROFS is wanted", prepare, name, errno)
				}
			}
			t.Logf("after %q: %s", prepare, strings.Join(lines, ", "))
			if len(lines) < 10 {
				t.Errorf("only %d kinds of write were tried", len(lines))
			}
		}
		if after := treeHash(t, s.Share); after != before {
			t.Errorf("the share on the host changed:\n%s\n%s", before, after)
		}
	})
}

// treeHash covers names, modes, owners, sizes, times, link targets and content.
func treeHash(t *testing.T, dir string) string {
	t.Helper()
	sum := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		stat := info.Sys().(*syscall.Stat_t)
		fmt.Fprintln(sum, path, info.Mode(), info.Size(), stat.Ino, stat.Nlink, stat.Uid, stat.Gid, stat.Mtim, stat.Ctim)
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			fmt.Fprintln(sum, target)
			return err
		case d.Type().IsRegular():
			data, err := os.ReadFile(path)
			sum.Write(data)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(sum.Sum(nil))
}
