package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"openshell-vm/share/layout"
)

// source is a share as the gateway writes it.
type source struct {
	t    *testing.T
	auth string
}

func (s source) at(name string) string { return filepath.Join(s.auth, name) }

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// publish makes generation n current. files are by their paths; a mode may stand before the content.
func (s source) publish(n int, files map[string]string) {
	s.t.Helper()
	gen := fmt.Sprintf("..gen-%08d", n)
	must(s.t, os.Mkdir(s.at(gen), 0o755))
	for name, data := range files {
		must(s.t, os.MkdirAll(filepath.Dir(s.at(gen+"/"+name)), 0o755), os.WriteFile(s.at(gen+"/"+name), []byte(data), 0o444))
	}
	s.lead(gen)
	must(s.t, os.WriteFile(s.at(fmt.Sprintf("..is-%08d", n)), nil, 0o444))
}

func (s source) lead(gen string) {
	s.t.Helper()
	must(s.t, os.Symlink(gen, s.at("..next")), os.Rename(s.at("..next"), s.at("..data")))
}

// mirrored makes a share and its mirror.
func mirrored(t *testing.T, first map[string]string) (source, *Mirror, string, *[]string) {
	t.Helper()
	dir := t.TempDir()
	s, to := source{t, filepath.Join(dir, "auth")}, filepath.Join(dir, "mirror")
	must(t, os.Mkdir(s.auth, 0o755), os.Mkdir(to, 0o755))
	s.publish(1, first)
	var mu sync.Mutex
	said := &[]string{}
	m, err := New(s.auth, to, s.auth, func(problem string) {
		mu.Lock()
		defer mu.Unlock()
		*said = append(*said, problem)
	})
	must(t, err)
	t.Cleanup(func() { m.share.Close(); m.copy.Close() })
	return s, m, to, said
}

// tree describes all below a mirror: links, directories with their modes, and files with their
// modes and contents.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		info, err := e.Info()
		if err != nil {
			return err
		}
		switch {
		case e.Type() == fs.ModeSymlink:
			target, _ := os.Readlink(path)
			fmt.Fprintf(&b, "%s -> %s\n", name, target)
		case e.IsDir():
			fmt.Fprintf(&b, "%s/ %o\n", name, info.Mode().Perm())
		default:
			data, _ := os.ReadFile(path)
			fmt.Fprintf(&b, "%s %o %q\n", name, info.Mode().Perm(), data)
		}
		return nil
	}))
	return b.String()
}

// TestFollow: a mirror is what its share is, before and after each publish, and as the share is
// pruned.
func TestFollow(t *testing.T) {
	s, m, to, said := mirrored(t, map[string]string{"sandbox.jwt": "one", "ssh/key": "secret", "ssh/config": "c"})
	must(t, os.Chmod(s.at("..gen-00000001/ssh/key"), 0o400), os.Chmod(s.at("..gen-00000001/ssh"), 0o750))
	if target, _ := os.Readlink(filepath.Join(to, "..data")); target != s.at("..data") {
		t.Errorf("before the first look ..data leads to %q", target)
	}
	m.Look()
	first := `..data -> ..gen-00000001
..gen-00000001/ 755
..gen-00000001/sandbox.jwt 444 "one"
..gen-00000001/ssh/ 750
..gen-00000001/ssh/config 444 "c"
..gen-00000001/ssh/key 400 "secret"
..is-00000001 444 ""
sandbox.jwt -> ..data/sandbox.jwt
ssh -> ..data/ssh
`
	if got := tree(t, to); got != first {
		t.Errorf("it has\n%s", got)
	}

	old, err := os.Open(filepath.Join(to, "sandbox.jwt"))
	must(t, err)
	defer old.Close()
	s.publish(2, map[string]string{"sandbox.jwt": "two", "new": "n", "ssh/config": "c"})
	m.Look()
	for name, want := range map[string]string{"sandbox.jwt": "two", "new": "n", "..gen-00000001/ssh/key": "secret"} {
		if got, err := os.ReadFile(filepath.Join(to, name)); string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}

	// The share withdraws a file, and then all.
	must(t, os.Rename(s.at("..is-00000001"), s.at("..was-00000001")), os.Remove(s.at("..gen-00000001/ssh/key")))
	m.Look()
	second := `..data -> ..gen-00000002
..gen-00000001/ 755
..gen-00000001/sandbox.jwt 444 "one"
..gen-00000001/ssh/ 750
..gen-00000001/ssh/config 444 "c"
..gen-00000002/ 755
..gen-00000002/new 444 "n"
..gen-00000002/sandbox.jwt 444 "two"
..gen-00000002/ssh/ 755
..gen-00000002/ssh/config 444 "c"
..is-00000002 444 ""
new -> ..data/new
sandbox.jwt -> ..data/sandbox.jwt
ssh -> ..data/ssh
`
	if got := tree(t, to); got != second {
		t.Errorf("after a withdrawal it has\n%s", got)
	}
	must(t, os.RemoveAll(s.at("..gen-00000001")))
	s.publish(5, map[string]string{"new": "n5"})
	must(t, os.RemoveAll(s.at("..gen-00000002")))
	m.Look()
	third := `..data -> ..gen-00000005
..gen-00000005/ 755
..gen-00000005/new 444 "n5"
..is-00000005 444 ""
new -> ..data/new
`
	if got := tree(t, to); got != third {
		t.Errorf("at the end it has\n%s", got)
	}
	if len(*said) != 0 {
		t.Errorf("it said %q", *said)
	}
}

// TestOwnersAndTimes: a file keeps its owner and its time.
func TestOwnersAndTimes(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root gives files away")
	}
	s, m, to, _ := mirrored(t, map[string]string{"key": "k"})
	at := time.Unix(1_700_000_000, 5000)
	must(t, os.Chown(s.at("..gen-00000001/key"), 1234, 1235), os.Chmod(s.at("..gen-00000001/key"), 0o400),
		os.Chtimes(s.at("..gen-00000001/key"), at, at))
	m.Look()
	info, err := os.Stat(filepath.Join(to, "key"))
	must(t, err)
	if uid, gid := owner(info); uid != 1234 || gid != 1235 || info.Mode() != 0o400 || !info.ModTime().Equal(at) {
		t.Errorf("user %d, group %d, %v, %v", uid, gid, info.Mode(), info.ModTime())
	}
}

// TestAside: what is opened in a mirror that can't follow is the share's own, and it follows again
// when it can.
func TestAside(t *testing.T) {
	s, m, to, said := mirrored(t, map[string]string{"sandbox.jwt": "one"})
	m.Look()
	faults := []struct {
		name   string
		break_ func()
		mend   func()
		left   string // what the path gives meanwhile; "" for an error
	}{
		{"a file that can't be copied", func() {
			s.publish(2, map[string]string{"sandbox.jwt": "two", "other": "x"})
			must(t, syscall.Mkfifo(s.at("..gen-00000002/fifo"), 0o444))
		}, func() { must(t, os.Remove(s.at("..gen-00000002/fifo"))) }, "two"},
		{"a generation that is pruned at once", func() { s.lead("..gen-00000009") }, func() { s.lead("..gen-00000002") }, ""},
		{"no generation", func() { s.lead("elsewhere") }, func() { s.lead("..gen-00000002") }, ""},
		{"no share", func() { must(t, os.Remove(s.at("..data"))) }, func() { s.lead("..gen-00000002") }, ""},
	}
	for _, f := range faults {
		*said = nil
		f.break_()
		m.Look()
		m.Look()
		got, err := os.ReadFile(filepath.Join(to, "sandbox.jwt"))
		if string(got) != f.left || (err == nil) != (f.left != "") {
			t.Errorf("%s: %q, %v", f.name, got, err)
		}
		if len(*said) != 1 || (*said)[0] == "" {
			t.Errorf("%s: it said %q", f.name, *said)
		}
		if f.left != "" {
			if _, err := os.Stat(filepath.Join(to, "other")); err != nil {
				t.Errorf("%s: a new name: %v", f.name, err)
			}
		}
		f.mend()
		m.Look()
		target, _ := os.Readlink(filepath.Join(to, "..data"))
		if got, err := os.ReadFile(filepath.Join(to, "sandbox.jwt")); string(got) != "two" || target != "..gen-00000002" {
			t.Errorf("%s, mended: %q in %s, %v", f.name, got, target, err)
		}
		if len(*said) != 2 || (*said)[1] != "" {
			t.Errorf("%s, mended: it said %q", f.name, *said)
		}
	}
}

// small makes a mirror in a tmpfs with little room, of the share that s is.
func small(t *testing.T, s source, room string) (m *Mirror, dir string, said *[]string) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, room); err != nil {
		t.Skip("no tmpfs can be mounted here: ", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	said = &[]string{}
	m, err := New(s.auth, dir, s.auth, func(problem string) { *said = append(*said, problem) })
	must(t, err)
	t.Cleanup(func() { m.share.Close(); m.copy.Close() })
	return m, dir, said
}

// TestHeldOpen: what a program has open keeps its room when it is removed. So the mirror steps aside,
// does not read the share each second for nothing, and comes back when the room is free.
func TestHeldOpen(t *testing.T) {
	s, _, _, _ := mirrored(t, map[string]string{"f": strings.Repeat("1", 40<<10)})
	m, dir, said := small(t, s, "size=64k")
	m.Look()
	held, err := os.Open(filepath.Join(dir, "f"))
	must(t, err)
	s.publish(2, map[string]string{"f": strings.Repeat("2", 40<<10)})
	aside := func() {
		t.Helper()
		m.Look()
		got, err := os.ReadFile(filepath.Join(dir, "f"))
		if target, _ := os.Readlink(filepath.Join(dir, "..data")); target != s.at("..data") || len(got) != 40<<10 || got[0] != '2' || err != nil {
			t.Errorf("it leads to %s: %d bytes, %v", target, len(got), err)
		}
		if len(*said) != 1 || !strings.Contains((*said)[0], "no space left") {
			t.Errorf("it said %q", *said)
		}
	}
	aside()
	must(t, held.Close())
	aside() // it is not tried again so soon
	m.full.at = time.Now().Add(-fullFor)
	m.Look()
	if target, _ := os.Readlink(filepath.Join(dir, "..data")); target != "..gen-00000002" || len(*said) != 2 || (*said)[1] != "" {
		t.Errorf("with room again it leads to %s, and said %q", target, *said)
	}
}

// TestFewInodes: whatever room is left after a copy, the links are made, or the mirror steps aside.
func TestFewInodes(t *testing.T) {
	files := map[string]string{}
	for i := range 5 {
		files[fmt.Sprint("f", i)] = "x"
	}
	for inodes := 16; inodes < 34; inodes++ {
		s, _, _, _ := mirrored(t, files)
		m, dir, said := small(t, s, fmt.Sprint("size=1m,nr_inodes=", inodes))
		for n := 2; n < 8; n++ {
			m.Look()
			files[fmt.Sprint("new", n)] = "x"
			s.publish(n, files)
			m.Look()
			if got, want := names(m.copy, layout.Data), names(m.share, layout.Data); m.shown == uint64(n) && len(got) != len(want) {
				t.Errorf("%d inodes, generation %d: %q, not %q", inodes, n, got, want)
			}
			for name := range files {
				if _, err := os.ReadFile(filepath.Join(dir, name)); err != nil && m.shown == uint64(n) {
					t.Errorf("%d inodes, generation %d: %v", inodes, n, err)
				}
			}
			if m.shown != uint64(n) && (len(*said) == 0 || !strings.Contains((*said)[len(*said)-1], "no space left")) {
				t.Errorf("%d inodes, generation %d: ..data leads to %d, and it said %q", inodes, n, m.shown, *said)
			}
			delete(files, fmt.Sprint("new", n))
		}
	}
}

// TestNoRoom: for a generation that does not fit the oldest ones go. One that fits only alone takes
// the mirror's whole room, and one that does not fit at all is read from the share.
func TestNoRoom(t *testing.T) {
	s, _, _, _ := mirrored(t, map[string]string{"f": strings.Repeat("1", 20<<10)})
	m, dir, saying := small(t, s, "size=64k")
	there := func(want ...uint64) {
		t.Helper()
		if !slices.Equal(m.kept, want) {
			t.Errorf("generations %v are kept, wanted %v", m.kept, want)
		}
		got, err := os.ReadFile(filepath.Join(dir, "..data/f"))
		now, _ := os.ReadFile(s.at("..data/f"))
		if string(got) != string(now) || err != nil {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
	m.Look()
	there(1)
	s.publish(2, map[string]string{"f": strings.Repeat("2", 20<<10)})
	m.Look()
	there(1, 2)
	s.publish(3, map[string]string{"f": strings.Repeat("3", 52<<10)})
	m.Look()
	there(3)
	if len(*saying) != 2 || (*saying)[1] != "" {
		t.Errorf("it said %q", *saying)
	}
	s.publish(4, map[string]string{"f": strings.Repeat("4", 80<<10)})
	m.Look()
	there()
	if len(*saying) != 3 || !strings.Contains((*saying)[2], "no space left") {
		t.Errorf("it said %q", *saying)
	}
	s.publish(5, map[string]string{"f": "5"})
	m.Look()
	there(5)
	if len(*saying) != 4 || (*saying)[3] != "" {
		t.Errorf("it said %q", *saying)
	}
}

// TestFits: what can't fit is refused by the sizes of its files, before one is read.
func TestFits(t *testing.T) {
	s, m, _, _ := mirrored(t, map[string]string{"d/f": "1", "g": ""})
	gen, err := m.share.OpenRoot(layout.Generation(1))
	must(t, err)
	defer gen.Close()
	must(t, fits(gen, m.copy), os.Truncate(s.at("..data/g"), 1<<43))
	if err := fits(gen, m.copy); !lacksRoom(err) || !strings.Contains(err.Error(), "takes 8589934596 KiB") {
		t.Error(err)
	}
}

// TestGuard: when no look ends the mirror steps aside, and the next look brings it back.
func TestGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m, to, said := mirrored(t, map[string]string{"sandbox.jwt": "one"})
		ctx, cancel := context.WithCancel(t.Context())
		m.Look()
		begin := time.Now()
		go m.Run(ctx)
		s.publish(2, map[string]string{"sandbox.jwt": "two"})
		lead := func() string {
			target, _ := os.Readlink(filepath.Join(to, "..data"))
			return target
		}
		time.Sleep(Every + time.Millisecond)
		synctest.Wait()
		if got := lead(); got != "..gen-00000002" {
			t.Errorf("after one look it leads to %s", got)
		}
		m.looking <- struct{}{} // as a look that the share does not answer
		s.publish(3, map[string]string{"sandbox.jwt": "three"})
		time.Sleep(patience + Every)
		synctest.Wait()
		if got, _ := os.ReadFile(filepath.Join(to, "sandbox.jwt")); string(got) != "three" || lead() != s.at("..data") {
			t.Errorf("%v later: %q, it leads to %s", time.Since(begin), got, lead())
		}
		<-m.looking
		time.Sleep(Every)
		synctest.Wait()
		if got := lead(); got != "..gen-00000003" || fmt.Sprint(*said) != fmt.Sprint([]string{errNoAnswer.Error(), ""}) {
			t.Errorf("after the next look it leads to %s; it said %q", got, *said)
		}
		cancel()
		synctest.Wait()
	})
}

// TestRace: while a share is published and pruned as fast as that goes, whoever reads in the mirror
// through ..data gets files of one generation, and never an older one than before.
func TestRace(t *testing.T) {
	s, m, to, _ := mirrored(t, map[string]string{"a": "1", "d/b": "1"})
	m.Look()
	stop, looks := make(chan struct{}), sync.WaitGroup{}
	looks.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				m.Look()
			}
		}
	})
	reads, last := 0, 0
	looks.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			root, err := os.OpenRoot(filepath.Join(to, "..data"))
			if err != nil {
				t.Errorf("open: %v", err)
				return
			}
			a, errA := root.ReadFile("a")
			b, errB := root.ReadFile("d/b")
			root.Close()
			n := 0
			fmt.Sscan(string(a), &n)
			if errA != nil || errB != nil || string(a) != string(b) || n < last {
				// A generation may go while it is read, if it is not current any more.
				if errors.Is(errA, fs.ErrNotExist) || errors.Is(errB, fs.ErrNotExist) {
					continue
				}
				t.Errorf("%q and %q after %d, %v, %v", a, b, last, errA, errB)
				return
			}
			reads, last = reads+1, n
		}
	})
	for n := 2; n <= 300; n++ {
		s.publish(n, map[string]string{"a": fmt.Sprint(n), "d/b": fmt.Sprint(n)})
		if old := n - 5; old > 0 {
			must(t, os.Remove(s.at(fmt.Sprintf("..is-%08d", old))), os.RemoveAll(s.at(fmt.Sprintf("..gen-%08d", old))))
		}
	}
	m.Look()
	close(stop)
	looks.Wait()
	if reads == 0 {
		t.Error("nothing was read")
	}
	if got, _ := os.ReadFile(filepath.Join(to, "a")); string(got) != "300" {
		t.Errorf("at the end it has %q", got)
	}
}
