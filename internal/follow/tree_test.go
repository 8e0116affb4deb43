package follow

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var limits = Limits{Files: 50, Bytes: 5000, Depth: 3}

// holds says in a word what was found.
func holds(found Found) string {
	if found.Err != nil {
		return "error: " + found.Err.Error()
	}
	if found.Files == nil {
		return "file " + string(found.Data)
	}
	said := ""
	for _, name := range slices.Sorted(maps.Keys(found.Files)) {
		said += name + "=" + string(found.Files[name]) + " "
	}
	return "[" + strings.TrimSpace(said) + "]"
}

// watchTree follows a tree, and returns what waits until it holds that.
func watchTree(t *testing.T, f *Follower, path string) (wants func(what string)) {
	news := make(chan string, 1000)
	t.Cleanup(f.FollowTree(path, 1000, limits, func(found Found) { news <- holds(found) }))
	return func(what string) {
		t.Helper()
		last, deadline := "nothing", time.After(30*time.Second)
		for !strings.Contains(last, what) {
			select {
			case last = <-news:
			case <-deadline:
				t.Fatalf("told %q, not %q", last, what)
			}
		}
	}
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	must(t, os.MkdirAll(path, 0o700))
}

// TestTreeWays changes a directory in each way that there is.
func TestTreeWays(t *testing.T) {
	for name, o := range map[string]Options{
		"events": {Every: time.Hour, Quiet: 20 * time.Millisecond},
		"looks":  {Every: 30 * time.Millisecond, Quiet: 20 * time.Millisecond, NoEvents: true},
	} {
		t.Run(name, func(t *testing.T) { treeWays(t, run(t, o)) })
	}
}

func treeWays(t *testing.T, f *Follower) {
	base := t.TempDir()
	in := func(name string) string { return filepath.Join(base, name) }
	wants := watchTree(t, f, in("d"))
	wants("error: no such file")
	time.Sleep(50 * time.Millisecond) // the directory above may not be watched yet
	mkdir(t, in("d"))
	wants("[]")
	write(t, in("d/a"), "1")
	wants("[a=1]")
	write(t, in("d/a"), "2")
	wants("[a=2]")
	mkdir(t, in("d/sub"))
	write(t, in("d/sub/b"), "3")
	wants("[a=2 sub/b=3]")
	replace(t, in("d/sub/b"), "4")
	wants("[a=2 sub/b=4]")
	must(t, os.Remove(in("d/a")))
	wants("[sub/b=4]")
	must(t, os.Rename(in("d"), in("away")))
	wants("error: no such file")
	must(t, os.Rename(in("away"), in("d")))
	wants("[sub/b=4]")
	write(t, in("elsewhere"), "5")
	must(t, os.Symlink(in("elsewhere"), in("d/link")))
	wants("[link=5 sub/b=4]")
	replace(t, in("elsewhere"), "6")
	wants("[link=6 sub/b=4]")
	write(t, in("d/..hidden"), "7")
	write(t, in("d/z"), "8")
	wants("[link=6 sub/b=4 z=8]")
	must(t, os.RemoveAll(in("d")))
	write(t, in("d"), "9")
	wants("file 9")
}

// TestTreeRefuses has what no directory may hold: it is told with the name, nothing of it is read, and it goes by itself.
func TestTreeRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		make func(dir string) error
		says string
	}{
		"fifo":       {func(dir string) error { return unix.Mkfifo(filepath.Join(dir, "x"), 0o600) }, "x is not a regular file"},
		"socket":     {func(dir string) error { return unix.Mknod(filepath.Join(dir, "x"), unix.S_IFSOCK|0o600, 0) }, "x is not a regular file"},
		"large":      {func(dir string) error { return os.WriteFile(filepath.Join(dir, "x"), make([]byte, 1001), 0o600) }, "x has 1001 bytes"},
		"dangling":   {func(dir string) error { return os.Symlink("nowhere", filepath.Join(dir, "x")) }, "x: no such file"},
		"loop":       {func(dir string) error { return os.Symlink("x", filepath.Join(dir, "x")) }, "x: too many levels"},
		"circle":     {func(dir string) error { return os.Symlink(".", filepath.Join(dir, "x")) }, "directories in each other"},
		"deep":       {func(dir string) error { return os.MkdirAll(filepath.Join(dir, "x/y/z"), 0o700) }, "directories in each other"},
		"device":     {func(dir string) error { return os.Symlink("/dev/zero", filepath.Join(dir, "x")) }, "x is not a regular file"},
		"read error": {func(dir string) error { return os.Symlink("/proc/self/mem", filepath.Join(dir, "x")) }, "x: input/output error"},
		"many": {func(dir string) error {
			for i := range 60 {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o600); err != nil {
					return err
				}
			}
			return nil
		}, "over 50 names"},
		"much": {func(dir string) error {
			for i := range 6 {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), make([]byte, 900), 0o600); err != nil {
					return err
				}
			}
			return nil
		}, "over 5000 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, filepath.Join(dir, "good"), "1")
			wants := watchTree(t, run(t, Options{Every: 50 * time.Millisecond, Quiet: 20 * time.Millisecond}), dir)
			wants("[good=1]")
			must(t, tc.make(dir))
			wants(tc.says)
			entries, err := os.ReadDir(dir)
			must(t, err)
			for _, e := range entries {
				if e.Name() != "good" {
					must(t, os.RemoveAll(filepath.Join(dir, e.Name())))
				}
			}
			wants("[good=1]")
		})
	}
}

// TestTreeIsWhole swaps a directory as Kubernetes does, and leads it back, all the while: what is told is of
// one version in all files.
func TestTreeIsWhole(t *testing.T) {
	dir := t.TempDir()
	versions, files := []string{"..1", "..2", "..3"}, 20
	for _, v := range versions {
		for i := range files {
			mkdir(t, filepath.Join(dir, v, fmt.Sprint("d", i%3)))
			write(t, filepath.Join(dir, v, fmt.Sprintf("d%d/f%d", i%3, i)), v)
		}
	}
	must(t, os.Symlink(versions[0], filepath.Join(dir, "..data")))
	for i := range 3 {
		must(t, os.Symlink(fmt.Sprintf("..data/d%d", i), filepath.Join(dir, fmt.Sprint("d", i))))
	}
	f := run(t, Options{Every: 10 * time.Millisecond, Quiet: time.Nanosecond})
	told := make(chan Found, 10000)
	defer f.FollowTree(dir, 1000, limits, func(found Found) { told <- found })()
	seen := map[string]int{}
	for i, end := 0, time.Now().Add(30*time.Second); (len(seen) < len(versions) || i < 2000) && time.Now().Before(end); i++ {
		must(t, os.Symlink(versions[i%len(versions)], filepath.Join(dir, "..new")), os.Rename(filepath.Join(dir, "..new"), filepath.Join(dir, "..data")))
		if i%50 == 0 {
			time.Sleep(20 * time.Millisecond) // let it be read now and then
		}
		for len(told) > 0 {
			found := <-told
			if found.Err != nil {
				continue // it may be in no state at all for a moment
			}
			all := map[string]bool{}
			for _, data := range found.Files {
				all[string(data)] = true
			}
			if len(found.Files) != files || len(all) != 1 {
				t.Fatalf("told of %d files of the versions %v", len(found.Files), all)
			}
			seen[holds(found)]++
		}
	}
	if len(seen) == 0 {
		t.Error("nothing was ever told")
	}
}

// TestTreeIsJudged: every place of a directory is judged before it is read, and links by where they lead.
func TestTreeIsJudged(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	write(t, filepath.Join(other, "file"), "secret")
	mkdir(t, filepath.Join(dir, "sub"))
	write(t, filepath.Join(dir, "sub/file"), "1")
	must(t, os.Symlink(filepath.Join(other, "file"), filepath.Join(dir, "link")))
	judged := make(chan []string, 100)
	f := run(t, Options{Quiet: 20 * time.Millisecond, Judge: func(paths ...string) error {
		judged <- paths
		return fmt.Errorf("not that")
	}})
	watchTree(t, f, dir)("error: not that")
	paths := <-judged
	for _, want := range []string{"", "sub", "sub/file", "link"} {
		if !slices.Contains(paths, filepath.Join(dir, want)) {
			t.Errorf("%q is not judged: %q", want, paths)
		}
	}
}
