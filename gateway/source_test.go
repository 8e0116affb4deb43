package gateway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"openshell-vm/gateway/lease"
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

// TestFurtherSource: one that is due before the token is published when it is, with a
// token of the same generation, and also after a restart. One that fails without files
// leaves the last good generation, is shown and tried again.
func TestFurtherSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, all := bubbleGateway(t, time.Hour, 1)
		s, source := all[0], &news{every: 5 * time.Minute, given: time.Now()}
		g.further = func(*sandbox) []lease.Source { return []lease.Source{source} }
		ctx, cancel := context.WithCancel(t.Context())
		if err := g.deliver(ctx, s, false); err != nil {
			t.Fatal(err)
		}
		first, _ := tokenOf(t, g, s.share.AuthDir())
		g.pickUp(s) // what was published is newer
		go g.schedule.Serve(ctx)
		time.Sleep(21 * time.Minute)
		generation, _ := tokenOf(t, g, s.share.AuthDir())
		data, err := os.ReadFile(filepath.Join(s.share.AuthDir(), "news"))
		if err != nil || string(data) != fmt.Sprint(generation) || generation != first+4 {
			t.Errorf("after 21 minutes generation %d, from %d on, has news of %s, %v", generation, first, data, err)
		}

		s.set(func() { s.token = lease.Renewal{} }) // as a new gateway begins
		g.pickUp(s)
		if due := time.Until(g.schedule.At(s.id)); due != 4*time.Minute {
			t.Errorf("after a restart it is due in %v", due)
		}

		source.failing(true)
		time.Sleep(5 * time.Minute)
		token := s.view().Token
		now, _ := tokenOf(t, g, s.share.AuthDir())
		if now != generation || token.Failures == 0 || !strings.Contains(token.LastError, "no news") || !g.schedule.Has(s.id) {
			t.Errorf("generation %d after %d, %+v", now, generation, token)
		}
		source.failing(false)
		time.Sleep(time.Minute)
		if now, _ := tokenOf(t, g, s.share.AuthDir()); now != generation+1 || s.view().Token.Failures != 0 {
			t.Errorf("generation %d after %d", now, generation)
		}
		cancel()
		synctest.Wait()
	})
}
