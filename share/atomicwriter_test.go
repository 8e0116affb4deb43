package share

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/share/layout"
)

// payload is what a publish gets: contents by name.
type payload map[string]string

func (p payload) files() (list []File) {
	for name, data := range p {
		list = append(list, File{Name: name, Data: []byte(data)})
	}
	return list
}

// TestAtomicWriter has the cases of Kubernetes' AtomicWriter, by their names there: what a
// projected volume can do, a share can.
func TestAtomicWriter(t *testing.T) {
	for name, steps := range map[string][]payload{
		"no change":                {{"foo": "foo", "bar": "bar"}, {"foo": "foo", "bar": "bar"}},
		"no change, paths":         {{"foo/bar.txt": "a", "bar/zab.txt": "b"}, {"foo/bar.txt": "a", "bar/zab.txt": "b"}},
		"update":                   {{"foo.txt": "foo", "bar.txt": "bar"}, {"foo.txt": "foo", "bar.txt": "other"}},
		"update, paths":            {{"foo/bar.txt": "a"}, {"foo/bar.txt": "b"}},
		"multiple updates":         {{"foo/bar.txt": "a"}, {"foo/bar.txt": "b"}, {"foo/bar.txt": "c"}, {"foo/bar.txt": "a"}},
		"add a file":               {{"foo.txt": "a"}, {"foo.txt": "a", "bar.txt": "b"}},
		"add a path":               {{"foo/bar.txt": "a"}, {"foo/bar.txt": "a", "blah/foo.txt": "b"}},
		"add to a directory":       {{"foo/bar.txt": "a"}, {"foo/bar.txt": "a", "foo/second.txt": "b", "foo/deep/er.txt": "c"}},
		"remove a file":            {{"foo.txt": "a", "bar.txt": "b"}, {"foo.txt": "a"}},
		"remove in a directory":    {{"foo/a.txt": "a", "foo/b.txt": "b"}, {"foo/a.txt": "a"}},
		"remove a directory":       {{"foo/a.txt": "a", "bar": "b"}, {"bar": "b"}},
		"remove nested":            {{"a/b/c/d": "a", "a/b/e": "b"}, {"a/b/e": "b"}},
		"remove all, empty":        {{"foo.txt": "a", "bar/zab": "b"}, {}},
		"empty payload first":      {{}, {"foo": "a"}, {}, {"foo": "a"}},
		"file becomes a directory": {{"foo": "a"}, {"foo/bar": "b"}, {"foo": "a"}, {"foo/bar": "c"}},
		"deep file and directory":  {{"d/foo": "a"}, {"d/foo/bar": "b"}, {"d/foo": "c"}},
		"moved":                    {{"a/x": "1"}, {"b/x": "1"}, {"x": "1"}},
		"double dots inside":       {{"a..b": "1", "d/e..f": "2", "x..": "3"}, {"a..b": "2", "d/e..f": "2", "x..": "3"}},
		"hidden files":             {{".x": "1", ".d/.y": "2"}, {".x": "2", ".d/.y": "2"}},
		"empty files":              {{"a": "", "d/b": ""}, {"a": "", "d/b": "", "d/c": ""}, {"d/c": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestShare(t, Options{Grace: time.Nanosecond, DirMode: 0o550, FileMode: 0o440})
			var before payload
			for i, p := range steps {
				published := mustPublish(t, s, with(p.files()...))
				changed := i == 0 || fmt.Sprint(before) != fmt.Sprint(p)
				if published.Changed != changed || published.Warning != nil {
					t.Errorf("step %d: %+v, want changed %v", i, published, changed)
				}
				if err := holds(s, p); err != nil {
					t.Errorf("step %d: %v", i, err)
				}
				before = p
			}
			if err := s.Repair(t.Context()); err != nil {
				t.Error(err)
			}
			if err := holds(s, before); err != nil {
				t.Errorf("after a repair: %v", err)
			}
			if _, err := s.Prune(t.Context(), time.Now().Add(time.Hour)); err != nil {
				t.Error(err)
			}
			if got := entries(t, s); len(got) != len(tops(before.files()))+3 {
				t.Errorf("what is left is %q", got)
			}
		})
	}
}

// holds checks that a reader finds the payload and nothing else, each name's first component
// as a link, and that modes are those of the options.
func holds(s *Share, p payload) error {
	got, err := Read(s.AuthDir())
	if err != nil {
		return err
	}
	var wrong []error
	for name, data := range p {
		if string(got.Files[name]) != data {
			wrong = append(wrong, fmt.Errorf("Read gives %q for %s", got.Files[name], name))
		}
		if seen, err := os.ReadFile(filepath.Join(s.AuthDir(), name)); err != nil || string(seen) != data {
			wrong = append(wrong, fmt.Errorf("opening %s gives %q, %v", name, seen, err))
		}
	}
	if len(got.Files) != len(p) {
		wrong = append(wrong, fmt.Errorf("Read gives %d files", len(got.Files)))
	}
	list, err := os.ReadDir(s.AuthDir())
	wrong = append(wrong, err)
	for _, e := range list {
		name := e.Name()
		if target, err := os.Readlink(filepath.Join(s.AuthDir(), name)); !strings.HasPrefix(name, "..") && (err != nil || target != layout.Link(name)) {
			wrong = append(wrong, fmt.Errorf("%s leads to %q, %v", name, target, err))
		}
	}
	return errors.Join(append(wrong, checkTree(s, filepath.Join(s.AuthDir(), layout.Generation(got.Generation))))...)
}

// checkTree checks the modes of all below a generation.
func checkTree(s *Share, gen string) error {
	return filepath.WalkDir(gen, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		want := s.opts.FileMode
		if e.IsDir() {
			want = s.opts.DirMode
		}
		if err == nil && info.Mode().Perm() != want {
			err = fmt.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
}

// TestModesAndOwners: each file may have its own, and a change of them alone is a change.
func TestModesAndOwners(t *testing.T) {
	s := newTestShare(t, plainOptions)
	files := func(key File) func(uint64) ([]File, error) {
		key.Name, key.Data = "ssh/id", []byte("key")
		return with(key, File{Name: "known"}, File{Name: "bin/helper", Mode: 0o555})
	}
	var st unix.Stat_t
	steps := []File{{}, {Mode: 0o400}, {Mode: 0o400}, {Mode: 0o600}}
	if os.Geteuid() == 0 {
		steps = append(steps, File{Mode: 0o600, Owner: &Owner{1234, 2345}}, File{Mode: 0o400, Owner: &Owner{0, 2345}})
	}
	for i, key := range steps {
		p := mustPublish(t, s, files(key))
		if want := i != 2; p.Changed != want {
			t.Errorf("step %d: changed is %v", i, p.Changed)
		}
		if err := unix.Stat(filepath.Join(s.AuthDir(), "ssh/id"), &st); err != nil || !s.ownerOf(key).matches(st) {
			t.Errorf("step %d: %o %d:%d, %v", i, st.Mode, st.Uid, st.Gid, err)
		}
		if err := unix.Stat(filepath.Join(s.AuthDir(), "bin/helper"), &st); err != nil || st.Mode&0o7777 != 0o555 {
			t.Errorf("step %d: the helper: %o, %v", i, st.Mode, err)
		}
	}
}

// TestWithdrawnInDirectories: after the grace a removed file is in no generation, and what only
// a renewal superseded stays.
func TestWithdrawnInDirectories(t *testing.T) {
	renewed := func(name string, _ []byte) bool { return strings.HasPrefix(name, "token") }
	s := newTestShare(t, Options{Grace: time.Millisecond, Overlap: time.Hour, Renewed: renewed})
	build := func(names ...string) func(uint64) ([]File, error) { return provenFiles(names...) }
	mustPublish(t, s, build("token", "token.d/a", "d/secret", "d/e/other", "d/stays"))
	mustPublish(t, s, build("token", "token.d/a", "d/stays"))
	time.Sleep(2 * time.Millisecond)
	if _, err := s.Prune(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	var left []string
	old := filepath.Join(s.AuthDir(), layout.Generation(1))
	filepath.WalkDir(old, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			name, _ := filepath.Rel(old, path)
			left = append(left, name)
		}
		return err
	})
	if !slices.Equal(left, []string{"token", "token.d/a"}) {
		t.Errorf("generation 1 still has %q", left)
	}
	if err := filepath.WalkDir(old, func(path string, e fs.DirEntry, err error) error {
		if info, e := os.Lstat(path); e == nil && info.IsDir() && info.Mode().Perm() != 0o555 {
			return fmt.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}
