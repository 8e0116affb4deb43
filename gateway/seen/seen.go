// Package seen finds out which generation each running sandbox sees, and how long after its
// publish it saw it. It only looks: no token's validity depends on it, and no publish waits for it.
//
// What a look costs: one question to the sandbox's driver. After each publish there is one look. If
// that does not find the new generation, there is a second one when the driver's bound is over, and
// then one every lateLook until it is seen. While somebody waits for a sandbox there is one every
// few milliseconds, however many wait for it. No sandbox has a goroutine or a descriptor of its own.
package seen

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/lease/schedule"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/sandbox"
	"openshell-vm/gateway/shares"
	"openshell-vm/internal/inroot"
)

const (
	// Slack is added to a driver's staleness bound: what a sandbox has seen is told a moment later.
	Slack      = 2 * time.Second
	lookTime   = 2 * time.Second  // bounds one look
	lateLook   = 10 * time.Second // between looks at what did not see a generation in time
	firstLooks = 10 * time.Second // in which a new gateway looks at all sandboxes
	startLook  = time.Second      // between looks at a sandbox that starts
)

// Options are who is told of what is found.
type Options struct {
	// Took is called with the time from a publish until a sandbox saw it.
	Took func(time.Duration)
	// Late is called when a sandbox has not seen a generation within its bound.
	Late func()
	// Shares find who has a share of the user's own mounted.
	Shares *shares.Shares
}

// Watch knows what each running sandbox sees. It is safe for concurrent use.
type Watch struct {
	roster *roster.Roster
	opts   Options
	looks  *schedule.Schedule
	once   singleflight.Group // one look at a sandbox at a time
	looker inroot.Looker      // for shares of the user's own
	waits  atomic.Int64       // callers of Wait

	mu    sync.Mutex
	known map[string]*Sight // by sandbox
}

// Sight is what is known of one sandbox. The zero value means that nothing is.
type Sight struct {
	Published   uint64
	PublishedAt time.Time     // zero if the sandbox did not run then, or a gateway before published it
	Seen        uint64        // what it saw last
	SeenAt      time.Time     // when it is known to have seen that
	Took        time.Duration // from the publish of Seen; 0 if not known
	Since       time.Time     // the first publish that it has not seen; zero if it has seen all
	Late        bool          // the driver's bound is over since then
	Problem     string        // one line: why it can't be known
}

// Shown completes what is shown of a running sandbox's token.
func (s Sight) Shown(t *api.Token) {
	if s.Seen >= t.SeenGeneration {
		t.SeenGeneration, t.SeenAt, t.SeenAfter = s.Seen, s.SeenAt, s.Took
	}
	if s.Late {
		t.UnseenSince = s.Since
	}
}

// New makes a watch of a roster's sandboxes.
func New(r *roster.Roster, opts Options) *Watch {
	w := &Watch{roster: r, opts: opts, known: map[string]*Sight{}}
	w.looks = schedule.New(w.look)
	return w
}

// Run looks at what is due, until ctx ends. It begins with a look at each sandbox.
func (w *Watch) Run(ctx context.Context) {
	all := roster.Of[*sandbox.Sandbox](w.roster)
	for i, box := range all {
		token, _ := box.Lease.Renewal()
		w.expect(box.ID, token.Generation, time.Time{}, time.Now().Add(firstLooks*time.Duration(i+1)/time.Duration(len(all)+1)))
	}
	w.looks.Serve(ctx)
}

// Published notes a publish, and has its sandbox looked at soon.
func (w *Watch) Published(id string, generation uint64) {
	now := time.Now()
	w.expect(id, generation, now, now)
}

// ClockStepped is called after the host's clock was set.
func (w *Watch) ClockStepped() { w.looks.Recheck() }

func (w *Watch) expect(id string, generation uint64, published, look time.Time) {
	w.mu.Lock()
	s := w.known[id]
	if s == nil {
		s = &Sight{}
		w.known[id] = s
	}
	if generation > s.Published {
		s.Published, s.PublishedAt = generation, published
		if s.Since.IsZero() {
			s.Since = time.Now()
		}
	}
	w.mu.Unlock()
	w.looks.Set(id, look, look)
}

// Of returns what is known of a sandbox. It is of use only while that runs.
func (w *Watch) Of(id string) Sight {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.known[id]; s != nil {
		return *s
	}
	return Sight{}
}

// Late counts the sandboxes that have not seen a generation within their bound.
func (w *Watch) Late() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.known {
		if s.Late {
			n++
		}
	}
	return n
}

// look is called by the schedule. It looks at one sandbox and plans the next look.
func (w *Watch) look(ctx context.Context, id string) {
	box := w.box(id)
	if box == nil {
		w.forget(id)
		return
	}
	switch box.Snapshot().State {
	case drivers.Running:
	case api.StateStarting, api.StateRestarting, api.StateUnknown:
		w.untimed(id)
		w.again(id, startLook)
		return
	default: // its next start publishes
		w.forget(id)
		return
	}
	_, err := w.see(ctx, box)
	s, now := w.Of(id), time.Now()
	left := s.Since.Add(bound(box)).Sub(now)
	switch {
	case s.Since.IsZero():
	case errors.Is(err, drivers.ErrNotRunning): // the engine tells the fleet, too
		w.forget(id)
	case left > 0:
		w.again(id, left)
	case err == nil:
		w.tooLate(box)
		w.again(id, lateLook)
	case !errors.Is(err, drivers.ErrNotTold): // the engine does not answer
		w.again(id, lateLook)
	}
}

func (w *Watch) box(id string) *sandbox.Sandbox {
	if it := w.roster.ByID(id); it != nil {
		box, _ := it.Owner.(*sandbox.Sandbox)
		return box
	}
	return nil
}

// bound is how long a generation may be unseen in a sandbox before that is told.
func bound(box *sandbox.Sandbox) time.Duration { return box.Rec().Staleness + Slack }

func (w *Watch) again(id string, after time.Duration) {
	at := time.Now().Add(after)
	w.looks.Set(id, at, at)
}

func (w *Watch) forget(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.known, id)
}

// untimed notes that the sandbox did not run when its generation was published.
func (w *Watch) untimed(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.known[id]; s != nil {
		s.PublishedAt, s.Since = time.Time{}, time.Now()
	}
}

// see asks the driver which generation the sandbox sees, and notes the answer. Callers who ask at
// the same time share one question.
func (w *Watch) see(ctx context.Context, box *sandbox.Sandbox) (uint64, error) {
	answer := w.once.DoChan(box.ID, func() (any, error) {
		seer, ok := box.Driver().(drivers.Seer)
		if !ok {
			err := fmt.Errorf("%w: its driver does not tell", drivers.ErrNotTold)
			w.failed(box.ID, err)
			return uint64(0), err
		}
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTime)
		defer cancel()
		n, at, err := seer.Seen(bounded, box.ID)
		if err != nil {
			w.failed(box.ID, err)
			return uint64(0), err
		}
		if at.IsZero() {
			at = time.Now()
		}
		w.saw(box, n, at)
		return n, nil
	})
	select {
	case a := <-answer:
		return a.Val.(uint64), a.Err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// failed notes why it is not known what a sandbox sees.
func (w *Watch) failed(id string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.known[id]; s != nil {
		s.Problem = explain.Line(err)
	}
}

// saw notes what a sandbox saw, and tells how long that took.
func (w *Watch) saw(box *sandbox.Sandbox, n uint64, at time.Time) {
	w.mu.Lock()
	s := w.known[box.ID]
	if s == nil {
		s = &Sight{}
		w.known[box.ID] = s
	}
	fresh, timed := n > s.Seen, n == s.Published && !s.PublishedAt.IsZero()
	s.Problem = ""
	if fresh {
		s.Seen, s.SeenAt, s.Took = n, at, 0
		if timed {
			s.Took = max(at.Sub(s.PublishedAt), time.Microsecond)
		}
	}
	was := *s
	if n >= s.Published {
		s.Since, s.Late = time.Time{}, false
	}
	w.mu.Unlock()
	if fresh && timed {
		w.opts.Took(was.Took)
	}
	if was.Late && n >= was.Published {
		w.tellSeen(box, was)
	}
}

// tooLate notes that the bound is over. It is told once, and before a word that it is seen after all.
func (w *Watch) tooLate(box *sandbox.Sandbox) {
	now := w.Of(box.ID)
	if now.Late || now.Since.IsZero() {
		return
	}
	w.opts.Late()
	w.roster.Log.Warn("a sandbox does not see what was published", "sandbox", box.ID, "name", box.Rec().Name,
		"published", now.Published, "seen", now.Seen, "bound", bound(box))
	box.Tell(api.EventUnseen, "generation", fmt.Sprint(now.Published), "seen", fmt.Sprint(now.Seen))
	w.mu.Lock()
	s := w.known[box.ID]
	meanwhile := s != nil && s.Since.IsZero()
	if s != nil && !meanwhile {
		s.Late = true
	}
	w.mu.Unlock()
	if meanwhile {
		w.tellSeen(box, now)
	}
}

// tellSeen tells that what was late is seen after all.
func (w *Watch) tellSeen(box *sandbox.Sandbox, was Sight) {
	now := w.Of(box.ID)
	w.roster.Log.Info("a sandbox sees what was published after all", "sandbox", box.ID, "name", box.Rec().Name, "generation", now.Seen)
	box.Tell(api.EventSeen, "generation", fmt.Sprint(now.Seen), "after", time.Since(was.Since).Round(time.Millisecond).String())
}
