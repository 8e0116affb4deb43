package watching

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// fakeShare is a share behind a guest's cache. The cache keeps ..data for five seconds
// after it was looked up.
type fakeShare struct {
	mu         sync.Mutex
	generation uint64 // on the host
	names      map[uint64]bool
	cached     uint64
	cachedAt   time.Time
	drops      int
	dropped    func() // called by drop
	stuck      bool   // drop has no effect
	uncached   bool
}

const cacheTime = 5 * time.Second

func (s *fakeShare) current() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.generation == 0 {
		return 0, errors.New("no ..data")
	}
	if s.uncached || time.Since(s.cachedAt) >= cacheTime {
		s.cached, s.cachedAt = s.generation, time.Now()
	}
	return s.cached, nil
}

func (s *fakeShare) announced(n uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names[n]
}

func (s *fakeShare) drop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drops++
	if s.dropped != nil {
		s.dropped()
	}
	if !s.stuck {
		s.cachedAt = time.Time{}
	}
	return nil
}

func (s *fakeShare) publish(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation = n
	s.names[n] = true
}

// report is one call of seen.
type report struct {
	generation uint64
	after      time.Duration
}

// runWatch watches share while script runs in the bubble's time.
func runWatch(t *testing.T, share *fakeShare, script func()) []report {
	t.Helper()
	return runWatchEvery(t, share, everyCached, script)
}

func runWatchEvery(t *testing.T, share *fakeShare, every time.Duration, script func()) (reports []report) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		seen := func(n uint64) { reports = append(reports, report{n, time.Since(start)}) }
		go watch(ctx, []*watched{{view: share, seen: seen}}, share.drop, every)
		script()
		cancel()
		synctest.Wait()
	})
	return reports
}

func TestWatchSeesAPublishSoon(t *testing.T) {
	share := &fakeShare{generation: 7, names: map[uint64]bool{7: true}}
	reports := runWatch(t, share, func() {
		time.Sleep(1100 * time.Millisecond)
		share.publish(8)
		time.Sleep(100*time.Millisecond + time.Nanosecond)
	})
	want := []report{{7, 0}, {8, 1200 * time.Millisecond}}
	if !reflect.DeepEqual(reports, want) || share.drops != 1 {
		t.Errorf("reports %v after %d drops, want %v after one", reports, share.drops, want)
	}
}

// TestWatchManyShares has one loop look at three shares. Two have a new generation at once: the
// names are dropped once for both. One stays behind whatever is dropped, and holds up no other.
func TestWatchManyShares(t *testing.T) {
	a, b, stuck := &fakeShare{}, &fakeShare{}, &fakeShare{stuck: true}
	drops := 0
	drop := func() error {
		drops++
		return errors.Join(a.drop(), b.drop(), stuck.drop())
	}
	seen := map[*fakeShare][]report{}
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		var all []*watched
		for _, s := range []*fakeShare{a, b, stuck} {
			s.names = map[uint64]bool{}
			s.publish(7)
			all = append(all, &watched{view: s, seen: func(n uint64) { seen[s] = append(seen[s], report{n, time.Since(start)}) }})
		}
		after := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait() // what the watch did is done, and ordered before what comes
		}
		go watch(ctx, all, drop, everyCached)
		after(1100 * time.Millisecond)
		a.publish(8)
		b.publish(8)
		after(200 * time.Millisecond)
		if drops != 1 {
			t.Errorf("%d drops for two shares that were published at once", drops)
		}
		stuck.publish(8)
		after(200 * time.Millisecond)
		b.publish(9)
		after(400 * time.Millisecond)
		cancel()
		synctest.Wait()
	})
	at := func(s *fakeShare) (all []uint64) {
		for _, r := range seen[s] {
			all = append(all, r.generation)
		}
		return all
	}
	if !slices.Equal(at(a), []uint64{7, 8}) || !slices.Equal(at(b), []uint64{7, 8, 9}) || !slices.Equal(at(stuck), []uint64{7}) {
		t.Errorf("seen %v, %v and %v", seen[a], seen[b], seen[stuck])
	}
}

func TestWatchIsIdleWithoutAPublish(t *testing.T) {
	share := &fakeShare{generation: 7, names: map[uint64]bool{7: true}}
	if runWatch(t, share, func() { time.Sleep(time.Hour) }); share.drops != 0 {
		t.Errorf("%d drops in an hour without a publish", share.drops)
	}
}

// TestWatchAfterAPause lets a guest pause until the announcements that it missed are
// pruned. It has to take the generation from ..data.
func TestWatchAfterAPause(t *testing.T) {
	share := &fakeShare{generation: 7, names: map[uint64]bool{7: true}}
	reports := runWatch(t, share, func() {
		time.Sleep(time.Second)
		share.publish(20)
		time.Sleep(cacheTime + 2*time.Second)
	})
	if len(reports) != 2 || reports[1].generation != 20 || reports[1].after > 7*time.Second {
		t.Errorf("reports %v, want 20 within 6 s", reports)
	}
}

// TestWatchGivesUp has a cache that can't be dropped. The watch tries a few times and then
// waits until the cache expires.
func TestWatchGivesUp(t *testing.T) {
	share := &fakeShare{generation: 7, names: map[uint64]bool{7: true}, stuck: true}
	reports := runWatch(t, share, func() {
		time.Sleep(time.Second)
		share.publish(8)
		time.Sleep(cacheTime + 2*time.Second)
	})
	if len(reports) != 2 || reports[1].generation != 8 || share.drops != maxDrops {
		t.Errorf("reports %v after %d drops, want 8 after %d", reports, share.drops, maxDrops)
	}
}

// TestWatchDropsAgain has the old link cached again between the drop and the next look.
// The watch has to drop it once more.
func TestWatchDropsAgain(t *testing.T) {
	share := &fakeShare{generation: 7, names: map[uint64]bool{7: true}, stuck: true}
	share.dropped = func() { share.stuck = share.drops < 2 }
	reports := runWatch(t, share, func() {
		time.Sleep(time.Second)
		share.publish(8)
		time.Sleep(time.Second)
	})
	if len(reports) != 2 || reports[1].after > 1300*time.Millisecond || share.drops != 2 {
		t.Errorf("reports %v after %d drops", reports, share.drops)
	}
}

func TestWatchManyPublishes(t *testing.T) {
	share := &fakeShare{generation: 1, names: map[uint64]bool{}}
	reports := runWatch(t, share, func() {
		for n := uint64(2); n <= 50; n++ {
			time.Sleep(3 * time.Second)
			share.publish(n)
		}
		time.Sleep(time.Second)
	})
	if len(reports) != 50 || share.drops > 60 {
		t.Fatalf("%d reports after %d drops, want 50", len(reports), share.drops)
	}
	for i, r := range reports[1:] {
		if late := r.after - time.Duration(i+1)*3*time.Second; r.generation != uint64(i+2) || late > everyCached {
			t.Errorf("generation %d was seen %v after its publish", r.generation, late)
		}
	}
}

// TestWatchUncached checks that without a cache nothing is dropped.
func TestWatchUncached(t *testing.T) {
	share := &fakeShare{generation: 7, names: map[uint64]bool{7: true}, uncached: true}
	reports := runWatchEvery(t, share, everyUncached, func() {
		time.Sleep(1500 * time.Millisecond)
		share.publish(8)
		time.Sleep(time.Second)
	})
	want := []report{{7, 0}, {8, 2 * time.Second}}
	if !reflect.DeepEqual(reports, want) || share.drops != 0 {
		t.Errorf("reports %v after %d drops, want %v after none", reports, share.drops, want)
	}
}

func TestShareView(t *testing.T) {
	dir := t.TempDir()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	v := shareView{fd}
	if _, err := v.current(); err == nil {
		t.Error("an empty share has a generation")
	}
	for _, target := range []string{"elsewhere", "..gen-x", "/..gen-00000001"} {
		link(t, dir, target)
		if n, err := v.current(); err == nil {
			t.Errorf("..data -> %s is generation %d", target, n)
		}
	}
	for _, n := range []uint64{1, 42, 123456789} {
		link(t, dir, fmt.Sprintf("..gen-%08d", n))
		if got, err := v.current(); err != nil || got != n {
			t.Errorf("generation %d, %v; want %d", got, err, n)
		}
		if v.announced(n) {
			t.Errorf("%d is announced too early", n)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("..is-%08d", n)), nil, 0o444); err != nil {
			t.Fatal(err)
		}
		if !v.announced(n) {
			t.Errorf("%d's announcement is not seen", n)
		}
	}
}

func link(t *testing.T, dir, target string) {
	t.Helper()
	name := filepath.Join(dir, "..data")
	os.Remove(name)
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}
