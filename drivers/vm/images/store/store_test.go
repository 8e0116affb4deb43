package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// made makes an image with that block image.
func made(t *testing.T, s *Store, name, content string) Image {
	t.Helper()
	release, err := s.Pulling()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	i, err := s.Make(Image{ID: digest([]byte(name)), Config: []byte(`{}`)}, func(out *os.File) error {
		_, err := out.WriteString(content)
		return err
	})
	if err == nil {
		err = s.SetName(name, i.ID, "", time.Now())
	}
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// TestWholeOrNotThere: an image that was cut, or whose description is damaged, is none, and
// is made anew.
func TestWholeOrNotThere(t *testing.T) {
	for what, spoil := range map[string]func(i Image) error{
		"cut":            func(i Image) error { return os.Truncate(i.Block, 3) },
		"gone":           func(i Image) error { return os.Remove(i.Block) },
		"no description": func(i Image) error { return os.Remove(filepath.Join(filepath.Dir(i.Block), imageFile)) },
		"half a description": func(i Image) error {
			return os.Truncate(filepath.Join(filepath.Dir(i.Block), imageFile), 20)
		},
	} {
		s := Open(t.TempDir())
		i := made(t, s, "a", "content")
		if got, err := s.Lookup("a"); err != nil || got.Block != i.Block {
			t.Fatalf("%s: %+v, %v", what, got, err)
		}
		if err := spoil(i); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Lookup("a"); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
		again := made(t, s, "a", "content")
		if data, err := os.ReadFile(again.Block); err != nil || string(data) != "content" {
			t.Errorf("%s: made anew it is %q, %v", what, data, err)
		}
	}
}

// TestFailedMakeLeavesNothing, and neither does one that was killed: the next one sweeps.
func TestFailedMakeLeavesNothing(t *testing.T) {
	s := Open(t.TempDir())
	if err := os.MkdirAll(s.path(".new-killed"), 0o700); err != nil {
		t.Fatal(err)
	}
	made(t, s, "other", "x")
	failed := errors.New("no room")
	if _, err := s.Make(Image{ID: digest(nil)}, func(*os.File) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("%v", err)
	}
	left, err := filepath.Glob(s.path(".new-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("%q is left, %v", left, err)
	}
}

// TestInUse: an image of which a sandbox was made stays, until the sandbox's directory is
// gone.
func TestInUse(t *testing.T) {
	s, box := Open(t.TempDir()), filepath.Join(t.TempDir(), "box")
	i := made(t, s, "a", "x")
	if err := errors.Join(os.Mkdir(box, 0o700), s.Use(i.ID, "box", box)); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(i.ID); !errors.Is(err, ErrInUse) {
		t.Errorf("%v", err)
	}
	if list, err := s.List(); err != nil || len(list) != 1 || !slices.Equal(list[0].Sandbox, []string{"box"}) {
		t.Errorf("%+v, %v", list, err)
	}
	if err := os.Remove(box); err != nil { // as a gateway that was killed before it told
		t.Fatal(err)
	}
	if err := s.Remove(i.ID); err != nil {
		t.Error(err)
	}
	if _, err := s.Lookup("a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
	if err := s.Remove(i.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
	if err := s.Use(i.ID, "box", box); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
}

// TestSweep keeps what is needed, and does nothing while something is pulled.
func TestSweep(t *testing.T) {
	s := Open(t.TempDir())
	i := made(t, s, "a", "x")
	for _, name := range []string{"blobs/kept", "blobs/old", "blobs/old.part", "images/0000-0/root.erofs"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(s.path(name)), 0o700), os.WriteFile(s.path(name), make([]byte, 10000), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	release, err := s.Pulling()
	if err != nil {
		t.Fatal(err)
	}
	if freed, err := s.Sweep(DropBlobs); freed != 0 || err != nil {
		t.Errorf("%d, %v", freed, err)
	}
	release()
	if freed, err := s.Sweep(DropBlobs); freed < 40_000 || err != nil {
		t.Errorf("%d, %v", freed, err)
	}
	if got, err := s.Lookup("a"); err != nil || got.ID != i.ID {
		t.Errorf("%v", err)
	}
	if left, _ := filepath.Glob(s.path("blobs", "*")); len(left) > 0 {
		t.Errorf("%q is left", left)
	}
}

// TestFetch takes up what is there, restarts where the source can't, and refuses what is not
// TestForgottenPart: the beginning of a blob that nobody came back for goes, a younger one and
// one that is being fetched stay.
func TestForgottenPart(t *testing.T) {
	s := Open(t.TempDir())
	if err := s.make(); err != nil {
		t.Fatal(err)
	}
	part := func(name string, age time.Duration) string {
		file := s.path("blobs", name+".part")
		if err := errors.Join(os.WriteFile(file, []byte("x"), 0o600), os.Chtimes(file, time.Time{}, time.Now().Add(-age))); err != nil {
			t.Fatal(err)
		}
		return file
	}
	old, young, busy := part("a", 8*24*time.Hour), part("b", 6*24*time.Hour), part("c", 8*24*time.Hour)
	lock, err := lockFile(busy, unix.LOCK_EX)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	s.sweep()
	for file, stays := range map[string]bool{old: false, young: true, busy: true} {
		if _, err := os.Lstat(file); (err == nil) != stays {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// what it should be.
func TestFetch(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 1000)
	whole := func(_ context.Context, from int64) (io.ReadCloser, int64, error) {
		return io.NopCloser(bytes.NewReader(data[from:])), from, nil
	}
	fromStart := func(context.Context, int64) (io.ReadCloser, int64, error) {
		return io.NopCloser(bytes.NewReader(data)), 0, nil
	}
	for name, test := range map[string]struct {
		part []byte
		open Opener
		size int64
		fail bool
	}{
		"all":                {nil, whole, 10_000, false},
		"the rest":           {data[:4000], whole, 10_000, false},
		"from the start":     {data[:4000], fromStart, 10_000, false},
		"a longer part":      {append(data, 'x'), whole, 10_000, false},
		"a damaged part":     {bytes.Repeat([]byte("x"), 4000), whole, 10_000, true},
		"longer than it is":  {nil, whole, 9_999, true},
		"shorter than it is": {nil, whole, 10_001, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := Open(t.TempDir())
			if err := s.make(); err != nil {
				t.Fatal(err)
			}
			d := digest(data)
			if test.part != nil {
				if err := os.WriteFile(s.path("blobs", d[7:]+".part"), test.part, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			err := s.Fetch(ctx, d, test.size, test.open, func(int64) {})
			if test.fail != (err != nil) {
				t.Fatalf("%v", err)
			}
			f, err := s.Blob(d)
			if test.fail {
				if err == nil {
					t.Error("it is there all the same")
				}
				return
			} else if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

// TestMakeOnce: of several that make one image, one makes it.
func TestMakeOnce(t *testing.T) {
	s := Open(t.TempDir())
	if err := s.make(); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	n := 0
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			_, err := s.Make(Image{ID: digest([]byte("a"))}, func(out *os.File) error {
				mu.Lock()
				defer mu.Unlock()
				n++
				_, err := out.WriteString("x")
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n != 1 {
		t.Errorf("it was made %d times", n)
	}
}

func TestNoDigest(t *testing.T) {
	s := Open(t.TempDir())
	for _, id := range []string{"", "sha256:", "sha256:../../x", "md5:00", "sha256:" + string(bytes.Repeat([]byte("Z"), 64))} {
		if _, err := s.Image(id); err == nil {
			t.Errorf("%q is one", id)
		}
		if err := s.Remove(id); err == nil {
			t.Errorf("%q is one", id)
		}
	}
}
