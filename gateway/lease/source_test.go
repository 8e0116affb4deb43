package lease

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"openshell-vm/share"
)

// news is a source that is due every so often, and may fail.
type news struct {
	every time.Duration

	mu    sync.Mutex // the schedule's goroutines use it, and the test
	given time.Time
	fails bool
}

func (n *news) failing(fails bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fails = fails
}

func (n *news) Files(generation uint64) ([]share.File, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.given = time.Now(); n.fails {
		return nil, errors.New("no news")
	}
	return []share.File{{Name: "news", Data: fmt.Append(nil, generation)}}, nil
}

func (n *news) Due() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.given.Add(n.every)
}

// TestFurtherSource: a source that is due before the token is published when it is due, with
// a token of the same generation, also after a restart. If it fails without files, the last
// good generation stays, and the failure is shown and retried.
func TestFurtherSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, all := kept(t, time.Hour, 1, io.Discard)
		s, source := all[0], &news{every: 5 * time.Minute, given: time.Now()}
		k.opts.Further = func(*Lease) []Source { return []Source{source} }
		ctx, cancel := context.WithCancel(t.Context())
		if err := k.Deliver(ctx, s, nil); err != nil {
			t.Fatal(err)
		}
		first := generationIn(t, k, s)
		k.pickUp(s) // what was published is newer
		go k.Renewals().Serve(ctx)
		time.Sleep(21 * time.Minute)
		generation := generationIn(t, k, s)
		data, err := os.ReadFile(filepath.Join(s.Share().AuthDir(), "news"))
		if err != nil || string(data) != fmt.Sprint(generation) || generation != first+4 {
			t.Errorf("after 21 minutes generation %d, from %d on, has news of %s, %v", generation, first, data, err)
		}

		s.mu.Lock()
		s.renewal = Renewal{}
		s.mu.Unlock() // as a new gateway begins
		k.pickUp(s)
		if due := time.Until(k.Renewals().At(s.id)); due != 4*time.Minute {
			t.Errorf("after a restart it is due in %v", due)
		}

		source.failing(true)
		time.Sleep(5 * time.Minute)
		token := renewal(s)
		now := generationIn(t, k, s)
		if now != generation || token.Failures == 0 || !strings.Contains(token.LastError, "no news") || !k.Renewals().Has(s.id) {
			t.Errorf("generation %d after %d, %+v", now, generation, token)
		}
		source.failing(false)
		time.Sleep(time.Minute)
		if now := generationIn(t, k, s); now != generation+1 || renewal(s).Failures != 0 {
			t.Errorf("generation %d after %d", now, generation)
		}
		cancel()
		synctest.Wait()
	})
}

// generationIn returns the generation of the token that a share holds.
func generationIn(t *testing.T, k *Keeper, l *Lease) uint64 {
	t.Helper()
	held, err := k.read(l, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return held.Claims.Generation
}

// changing changes while a publish is under way: the first time that it is asked, it has something
// newer right after it has answered.
type changing struct {
	lease *Lease
	asked atomic.Int32
}

func (c *changing) Files(uint64) ([]share.File, error) {
	n := c.asked.Add(1)
	if n == 1 {
		c.lease.Hasten()
	}
	return []share.File{{Name: "news", Data: fmt.Append(nil, n)}}, nil
}

func (c *changing) Due() time.Time { return time.Time{} }

// TestChangeDuringPublish: what changes after a publish has asked for it is published next, and not
// with the renewal after that.
func TestChangeDuringPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, all := kept(t, time.Hour, 1, io.Discard)
		source := &changing{lease: all[0]}
		k.opts.Further = func(*Lease) []Source { return []Source{source} }
		stop := serving(t, k)
		defer stop()
		time.Sleep(10 * time.Second)
		data, err := os.ReadFile(filepath.Join(all[0].Share().AuthDir(), "news"))
		if err != nil || string(data) != "2" || source.asked.Load() != 2 {
			t.Errorf("the share has news of publish %s after %d of them, %v", data, source.asked.Load(), err)
		}
	})
}
