package share

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

var evilNames = []string{
	"", ".", "..", "...", "..data", "..new", "..gen-00000001", "..is-00000001", "..anything",
	"/", "/etc/passwd", "a/b", "../a", "a/../b", "a/", "./a", "a//b",
	"a\x00b", "\x00", "a\nb", "a\tb", "\x1b[2J", "a\u202eb", "a\u200bb", "\xff", "a\xc0\xafb",
	strings.Repeat("n", 256), strings.Repeat("é", 128),
}

var goodNames = []string{
	"sandbox.jwt", "metadata.json", ".hidden", "a..b", "a..", "-", "--flag", "a b", "ключ", "$HOME", "*", "~",
	strings.Repeat("n", 255),
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
	good := File{"a", []byte("1")}
	mustPublish(t, s, with(good))
	before := entries(t, s)
	for _, name := range evilNames {
		p, err := s.Publish(t.Context(), 0, with(good, File{name, []byte("2")}))
		if !errors.Is(err, ErrName) || p.Changed {
			t.Errorf("Publish of %q gives %+v, %v", name, p, err)
		}
	}
	if _, err := s.Publish(t.Context(), 0, with(good, good)); !errors.Is(err, ErrName) {
		t.Errorf("the same name twice gives %v", err)
	}
	if _, err := s.Publish(t.Context(), 0, with()); !errors.Is(err, ErrEmpty) {
		t.Errorf("no file at all gives %v", err)
	}
	wantFiles(t, s, good)
	wantEntries(t, s, before...)
}

func TestPublishTakesGoodNames(t *testing.T) {
	s := newTestShare(t, plainOptions)
	var files []File
	for _, name := range goodNames {
		files = append(files, File{name, []byte(name)})
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
		// An accepted name stays directly below any directory, and is none of
		// this package's own.
		if filepath.Join("/d", name) != "/d/"+name || filepath.Dir("/d/"+name) != "/d" {
			t.Errorf("%q leads elsewhere", name)
		}
		if strings.HasPrefix(name, "..") || strings.ContainsAny(name, "/\x00\n") || len(name) > 255 || name == "" {
			t.Errorf("%q was accepted", name)
		}
	})
}
