package share

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

var evilNames = []string{
	"", ".", "..", "...", "..data", "..new", "..gen-00000001", "..is-00000001", "..anything",
	"/", "/etc/passwd", "../a", "a/../b", "a/", "./a", "a//b", "a/.", "a/./b", "a/..", "a/..data", "a/..gen-00000001/b",
	"1/2/3/4/5/6/7/8/9", "a/" + strings.Repeat("n", 256), "a/\nb",
	"a\x00b", "\x00", "a\nb", "a\tb", "\x1b[2J", "a\u202eb", "a\u200bb", "\xff", "a\xc0\xafb",
	strings.Repeat("n", 256), strings.Repeat("é", 128),
}

var goodNames = []string{
	"sandbox.jwt", "metadata.json", ".hidden", "a..b", "a..", "-", "--flag", "a b", "ключ", "$HOME", "*", "~",
	strings.Repeat("n", 255), "d/e", "d/f/g", "1/2/3/4/5/6/7/8", "d/" + strings.Repeat("n", 255), "d/.hidden",
}

func TestCheckName(t *testing.T) {
	for _, name := range evilNames {
		if err := CheckName(name); !errors.Is(err, ErrName) {
			t.Errorf("CheckName(%q) = %v, want ErrName", name, err)
		}
	}
	for _, name := range goodNames {
		if err := CheckName(name); err != nil {
			t.Error(err)
		}
	}
}

func TestPublishRefusesNames(t *testing.T) {
	s := newTestShare(t, plainOptions)
	good := File{Name: "a", Data: []byte("1")}
	mustPublish(t, s, with(good))
	before := entries(t, s)
	for _, name := range evilNames {
		p, err := s.Publish(t.Context(), 0, with(good, File{Name: name, Data: []byte("2")}))
		if !errors.Is(err, ErrName) || p.Changed {
			t.Errorf("Publish of %q gives %+v, %v", name, p, err)
		}
	}
	if _, err := s.Publish(t.Context(), 0, with(good, good)); !errors.Is(err, ErrName) {
		t.Errorf("the same name twice gives %v", err)
	}
	for _, clash := range []string{"a/b", "a/b/c"} {
		if _, err := s.Publish(t.Context(), 0, with(good, File{Name: clash})); !errors.Is(err, ErrName) {
			t.Errorf("%q beside a file a gives %v", clash, err)
		}
	}
	for _, mode := range []fs.FileMode{0o666, 0o464, 0o446, 0o4444, fs.ModeDir | 0o555} {
		if _, err := s.Publish(t.Context(), 0, with(good, File{Name: "b", Mode: mode})); !errors.Is(err, ErrMode) {
			t.Errorf("mode %v gives %v", mode, err)
		}
	}
	wantFiles(t, s, good)
	wantEntries(t, s, before...)
}

func TestPublishTakesGoodNames(t *testing.T) {
	s := newTestShare(t, plainOptions)
	var files []File
	for _, name := range goodNames {
		files = append(files, File{Name: name, Data: []byte(name)})
	}
	mustPublish(t, s, with(files...))
	wantFiles(t, s, files...)
}

func FuzzCheckName(f *testing.F) {
	for _, name := range append(evilNames, goodNames...) {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if CheckName(name) != nil {
			return
		}
		// An accepted name stays below any directory, and no component of it is one of this
		// package's own.
		if filepath.Join("/d", name) != "/d/"+name {
			t.Errorf("%q leads elsewhere", name)
		}
		for _, c := range strings.Split(name, "/") {
			if strings.HasPrefix(c, "..") || strings.ContainsAny(c, "\x00\n") || len(c) > 255 || c == "" {
				t.Errorf("%q was accepted", name)
			}
		}
	})
}
