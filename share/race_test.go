package share

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"openshell-vm/share/layout"
)

// TestReadersRaceWriter opens published names 100,000 times, half by path as a
// sandbox does and half through Read, while a writer publishes and prunes as
// fast as it can, a thousand times at least.
func TestReadersRaceWriter(t *testing.T) {
	opens, publishes := int64(100_000), int64(1_000)
	if testing.Short() {
		opens, publishes = 5_000, 50
	}
	// A reader by path must get from the link to the file within the grace, on a
	// busy machine too. Read tries again, so any grace will do.
	t.Run("by path", func(t *testing.T) { raceReaders(t, opens/2, publishes/2, 2*time.Second, readByPath) })
	t.Run("Read", func(t *testing.T) { raceReaders(t, opens/2, publishes/2, time.Nanosecond, readSnapshot) })
}

// raceReaders calls read while a writer in another process publishes, until there were
// enough opens and publishes. read returns a generation and the number of files that it
// opened.
func raceReaders(t *testing.T, opens, publishes int64, grace time.Duration, read func(dir string) (uint64, int64, error)) {
	s := newTestShare(t, plainOptions)
	first := mustPublish(t, s, provenFiles("token", "meta"))
	writer := child(t, "hammer", s.Dir(), "0", grace.String(), "token", "meta")
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	defer writer.Wait()
	defer writer.Process.Kill()

	var opened atomic.Int64
	var newest atomic.Uint64
	enough := first.Generation + uint64(publishes)
	deadline := time.Now().Add(2 * patience)
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			seen := uint64(0)
			for !t.Failed() && (opened.Load() < opens || seen < enough) {
				if time.Now().After(deadline) {
					t.Errorf("the writer came to generation %d only", seen)
				}
				n, files, err := read(s.AuthDir())
				if err != nil || n < seen {
					t.Errorf("generation %d after %d: %v", n, seen, err)
				}
				seen = n
				opened.Add(files)
			}
			newest.Store(seen)
		})
	}
	readers.Wait()
	t.Logf("%d opens against %d publishes", opened.Load(), newest.Load()-first.Generation)
}

func readByPath(dir string) (uint64, int64, error) {
	data, err := os.ReadFile(filepath.Join(dir, "token"))
	if err != nil {
		return 0, 1, err
	}
	n, err := generationOf(data, "token")
	return n, 1, err
}

func readSnapshot(dir string) (uint64, int64, error) {
	s, err := Read(dir)
	if err != nil {
		return 0, 2, err
	}
	for _, name := range []string{"token", "meta"} {
		if n, err := generationOf(s.Files[name], name); err != nil || n != s.Generation {
			return 0, 2, fmt.Errorf("%s in generation %d is of %d: %w", name, s.Generation, n, err)
		}
	}
	return s.Generation, 2, nil
}

// TestWritersInTwoProcesses publishes from three processes at once: the lock gives
// each generation to one of them.
func TestWritersInTwoProcesses(t *testing.T) {
	const each = 200
	s := newTestShare(t, plainOptions)
	var outs [3][]byte
	var wg sync.WaitGroup
	for i := range outs {
		wg.Go(func() {
			var err error
			if outs[i], err = child(t, "hammer", s.Dir(), strconv.Itoa(each), "10s", "token", "meta").Output(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, out := range outs {
		for _, n := range strings.Fields(string(out)) {
			if seen[n] {
				t.Errorf("generation %s was published twice", n)
			}
			seen[n] = true
		}
	}
	n, err := s.Current()
	if err != nil || n != each*uint64(len(outs)) || len(seen) != int(n) {
		t.Errorf("current is %d with %d reported, %v; want %d", n, len(seen), err, each*len(outs))
	}
}

// holdLock starts a publish in another goroutine. The publish holds the lock until release
// is called.
func holdLock(t *testing.T, s *Share) (release func()) {
	inside, leave := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := s.Publish(context.Background(), 0, func(uint64) ([]File, error) {
			close(inside)
			<-leave
			return []File{{Name: "held", Data: nil}}, nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-inside
	return func() {
		close(leave)
		wg.Wait()
	}
}

func TestContextBoundsTheWaitForTheLock(t *testing.T) {
	s := newTestShare(t, plainOptions)
	release := holdLock(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	for name, op := range map[string]func() error{
		"Publish": func() error { _, err := s.Publish(ctx, 0, provenFiles("a")); return err },
		"Repair":  func() error { return s.Repair(ctx) },
		"Prune":   func() error { _, err := s.Prune(ctx, time.Now()); return err },
		"Remove":  func() error { return s.Remove(ctx) },
	} {
		if err := op(); !os.IsTimeout(err) && err.(*Error).Err != context.DeadlineExceeded {
			t.Errorf("%s of a locked share gives %v", name, err)
		}
	}
	release()
	wantFiles(t, s, File{Name: "held", Data: nil})
}

// TestRemovedWhileWaiting removes a share while a writer waits for the lock. The writer
// must not write then.
func TestRemovedWhileWaiting(t *testing.T) {
	s := newTestShare(t, plainOptions)
	waiting, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.close()
	if err := s.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := waiting.lock(t.Context()); !isNotExist(err) {
		t.Errorf("locking a removed share gives %v", err)
	}
}

// TestUnlockedThoughTheLockIsHeldOpen checks that the lock is released explicitly. Closing
// the lock file is not enough: a child that is being forked holds every descriptor until
// its exec.
func TestUnlockedThoughTheLockIsHeldOpen(t *testing.T) {
	s := newTestShare(t, plainOptions)
	tx, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	inChild, err := syscall.Dup(tx.lockFD)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(inChild)
	tx.close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := s.Publish(ctx, 0, provenFiles("a")); err != nil {
		t.Error(err)
	}
}

// TestHalfPrunedGenerationIsNotComplete checks that Read does not return a generation
// which a prune has begun to remove.
func TestHalfPrunedGenerationIsNotComplete(t *testing.T) {
	s := newTestShare(t, plainOptions)
	mustPublish(t, s, provenFiles("a", "b"))
	mustPublish(t, s, provenFiles("a", "b"))
	auth, err := openDir(s.AuthDir())
	if err != nil {
		t.Fatal(err)
	}
	defer auth.close()
	for n := uint64(1); n <= 2; n++ {
		if err := auth.stillComplete(n); err != nil {
			t.Errorf("generation %d is announced, but: %v", n, err)
		}
		if err := os.Remove(filepath.Join(s.AuthDir(), layout.Announcement(n))); err != nil {
			t.Fatal(err)
		}
	}
	if err := auth.stillComplete(1); !isNotExist(err) {
		t.Errorf("generation 1, which is being pruned: %v", err)
	}
	if err := auth.stillComplete(2); err != nil {
		t.Errorf("generation 2 is current, but: %v", err)
	}
}

// TestRemoveUnderWriters lets writers come while a share is removed. They create the lock
// file again; the directory has to be removed all the same.
func TestRemoveUnderWriters(t *testing.T) {
	dir := fastDir(t)
	for i := range 300 {
		s, err := Create(filepath.Join(dir, strconv.Itoa(i)), plainOptions)
		if err != nil {
			t.Fatal(err)
		}
		mustPublish(t, s, provenFiles("a"))
		var writers sync.WaitGroup
		ended := make(chan struct{})
		for range 3 {
			writers.Go(func() {
				for {
					select {
					case <-ended:
						return
					default:
						if tx, err := s.openRoot(); err == nil { // as each writer begins
							tx.close()
						}
					}
				}
			})
		}
		err = s.Remove(t.Context())
		close(ended)
		writers.Wait()
		if err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		if list, err := os.ReadDir(s.Dir()); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("round %d: left %v, %v", i, list, err)
		}
	}
}
