package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestUseIsNeverLost: whoever lists images in the middle of a Use takes nothing away.
func TestUseIsNeverLost(t *testing.T) {
	s, box := Open(t.TempDir()), t.TempDir()
	i := made(t, s, "a", "x")
	stop := make(chan struct{})
	var listing sync.WaitGroup
	listing.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := s.List(); err != nil {
				t.Error(err)
			}
		}
	})
	var want []string
	for n := range 50 {
		name := fmt.Sprintf("box-%03d", n)
		want = append(want, name)
		if err := s.Use(i.ID, name, box); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	listing.Wait()
	list, err := s.List()
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	if got := list[0].Sandbox; !slices.Equal(got, want) {
		t.Errorf("%d users are left of %d", len(got), len(want))
	}
}

// TestTornUse: a note that an older version has begun to write is a user; one that was
// killed leaves nothing that looks like one.
func TestTornUse(t *testing.T) {
	s := Open(t.TempDir())
	i := made(t, s, "a", "x")
	note := filepath.Join(filepath.Dir(i.Block), usersDir, "box")
	if err := os.WriteFile(note, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if list, err := s.List(); err != nil || !slices.Equal(list[0].Sandbox, []string{"box"}) {
		t.Errorf("%+v, %v", list, err)
	}
	if err := s.Remove(i.ID); !errors.Is(err, ErrInUse) {
		t.Errorf("%v", err)
	}
	s.Unuse(i.ID, "box")
	if err := s.Remove(i.ID); err != nil {
		t.Error(err)
	}
}

// TestUsersOutliveDamage: an image that can't be read is made anew, but who uses it is
// still known, and it is not swept.
func TestUsersOutliveDamage(t *testing.T) {
	s, box := Open(t.TempDir()), t.TempDir()
	i := made(t, s, "a", "content")
	if err := s.Use(i.ID, "box", box); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(i.Block, 3); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sweep(DropBlobs); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(i.Block); err != nil {
		t.Errorf("it was swept: %v", err)
	}
	made(t, s, "a", "content")
	if err := s.Remove(i.ID); !errors.Is(err, ErrInUse) {
		t.Errorf("%v", err)
	}
}

// TestUsersUnseen: in its jail, who makes an image anew sees no directory of a sandbox. It judges
// no note, then, and loses none.
func TestUsersUnseen(t *testing.T) {
	s, state := Open(t.TempDir()), t.TempDir()
	i := made(t, s, "a", "content")
	box, hidden := filepath.Join(state, "box"), filepath.Join(state, "hidden")
	notes := filepath.Join(filepath.Dir(i.Block), usersDir)
	if err := errors.Join(
		os.Mkdir(box, 0o700), s.Use(i.ID, "box", box), s.Use(i.ID, "gone", filepath.Join(state, "gone")),
		os.WriteFile(filepath.Join(notes, "torn"), nil, 0o600), os.Mkdir(filepath.Join(notes, "odd"), 0o700),
		os.WriteFile(filepath.Join(notes, ".new"), []byte(box), 0o600), os.Truncate(i.Block, 3), os.Rename(box, hidden),
	); err != nil {
		t.Fatal(err)
	}
	made(t, s, "a", "content")
	if err := os.Rename(hidden, box); err != nil {
		t.Fatal(err)
	}
	list, err := s.List()
	if want := []string{"box", "odd", "torn"}; err != nil || len(list) != 1 || !slices.Equal(list[0].Sandbox, want) {
		t.Errorf("%+v, %v; want the users %v", list, err, want)
	}
	if err := s.Remove(i.ID); !errors.Is(err, ErrInUse) {
		t.Errorf("%v", err)
	}
}

// TestUnknownUsers: if it can't be told who uses an image, it stays.
func TestUnknownUsers(t *testing.T) {
	s := Open(t.TempDir())
	i := made(t, s, "a", "content")
	users := filepath.Join(filepath.Dir(i.Block), usersDir)
	if err := errors.Join(os.Remove(users), os.WriteFile(users, nil, 0o600)); err != nil { // as a broken disk
		t.Fatal(err)
	}
	if err := s.Remove(i.ID); err == nil {
		t.Error("it was removed")
	}
	if !s.Has(i.ID) {
		t.Error("it is gone")
	}
}

// TestSweepNeedsToRead: an image whose description can't be read just now is not damaged.
func TestSweepNeedsToRead(t *testing.T) {
	s := Open(t.TempDir())
	i := made(t, s, "a", "content")
	file := filepath.Join(filepath.Dir(i.Block), imageFile)
	if err := errors.Join(os.Remove(file), os.Mkdir(file, 0o700)); err != nil { // as a broken disk
		t.Fatal(err)
	}
	if _, err := s.Sweep(DropBlobs); err == nil {
		t.Error("it says nothing")
	}
	if _, err := os.Stat(i.Block); err != nil {
		t.Error(err)
	}
}

// TestUseOfAnEmptiedCache: the cache may be emptied at any time.
func TestUseOfAnEmptiedCache(t *testing.T) {
	s, box := Open(t.TempDir()), t.TempDir()
	i := made(t, s, "a", "content")
	if err := os.RemoveAll(s.dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Use(i.ID, "box", box); !errors.Is(err, ErrNotFound) {
		t.Errorf("use: %v", err)
	}
	if err := s.Remove(i.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("remove: %v", err)
	}
}

// TestOneLock: who waits for a lock's file that is removed meanwhile locks its successor,
// so two never hold the lock at once.
func TestOneLock(t *testing.T) {
	s := Open(t.TempDir())
	if err := s.make(); err != nil {
		t.Fatal(err)
	}
	var inside, most int
	var mu sync.Mutex
	enter := func(by int) {
		mu.Lock()
		defer mu.Unlock()
		inside += by
		most = max(most, inside)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 50 {
				lock, err := s.lockImage("aa")
				if err != nil {
					t.Error(err)
					return
				}
				enter(1)
				time.Sleep(100 * time.Microsecond)
				enter(-1)
				os.Remove(lock.Name()) // as Sweep does
				lock.Close()
			}
		})
	}
	all.Wait()
	if most != 1 {
		t.Errorf("%d held the lock at once", most)
	}
}
