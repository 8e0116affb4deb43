// Package seen finds out which generation each running sandbox sees, and how long after its
// publish it saw it. It only looks: no token's validity depends on it, and no publish waits for it.
//
// What a look costs: one question to the sandbox's driver, for each share that it sees. After each publish there is one look. If
// that does not find the new generation, there is a second one when the driver's bound is over, and
// then one every lateLook until it is seen. While somebody waits for a sandbox there is one every
// few milliseconds, however many wait for it. No sandbox has a goroutine or a descriptor of its own.
package seen

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
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
	// Saw is called when a sandbox has seen a generation. If that can't be known, it is called when
	// its driver's bound is over.
	Saw func(box *sandbox.Sandbox, generation uint64)
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
	known map[string]*Sight // by sight.key
}

// Sight is what is known of one sandbox and one share. The zero value means that nothing is.
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
		t.UnseenSince, t.UnseenReason = s.Since, s.Problem
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
		at := time.Now().Add(firstLooks * time.Duration(i+1) / time.Duration(len(all)+1))
		for _, s := range w.sights(box) {
			w.expect(s.key(), s.published(), time.Time{}, at)
		}
	}
	w.looks.Serve(ctx)
}

// Published notes a publish, and has those looked at soon who see it. The other shares of a
// sandbox that publishes to itself are looked at, too: it may be starting.
func (w *Watch) Published(id string, generation uint64) {
	now := time.Now()
	it := w.roster.ByID(id)
	if it == nil {
		w.expect(id, generation, now, now)
		return
	}
	switch owner := it.Owner.(type) {
	case *shares.Share:
		for _, box := range w.showing(owner) {
			w.expect(sight{box, owner}.key(), generation, now, now)
		}
	case *sandbox.Sandbox:
		w.expect(id, generation, now, now)
		for _, s := range w.sights(owner)[1:] {
			w.expect(s.key(), s.published(), time.Time{}, now)
		}
	}
}

func (w *Watch) expect(key string, generation uint64, published, look time.Time) {
	w.mu.Lock()
	s := w.known[key]
	if s == nil {
		s = &Sight{}
		w.known[key] = s
	}
	if generation > s.Published {
		s.Published, s.PublishedAt = generation, published
		if s.Since.IsZero() {
			s.Since = time.Now()
		}
	}
	w.mu.Unlock()
	w.looks.Set(key, look, look)
}

// Of returns what is known of a sandbox and its own share. It is of use only while that runs.
func (w *Watch) Of(id string) Sight { return w.of(id) }

func (w *Watch) of(key string) Sight {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.known[key]; s != nil {
		return *s
	}
	return Sight{}
}

// Late counts the sandboxes that have not seen a generation of a share within their bound.
func (w *Watch) Late() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	late := map[string]bool{}
	for key, s := range w.known {
		if id, _, _ := strings.Cut(key, "/"); s.Late {
			late[id] = true
		}
	}
	return len(late)
}

// look is called by the schedule. It looks at one sandbox and share, and plans the next look.
func (w *Watch) look(ctx context.Context, key string) {
	at, ok := w.sight(key)
	if !ok {
		w.forget(key)
		return
	}
	switch at.box.Snapshot().State {
	case drivers.Running:
	case api.StateStarting, api.StateRestarting, api.StateUnknown:
		w.untimed(key)
		w.again(key, startLook)
		return
	default: // its next start publishes
		w.forget(key)
		return
	}
	_, err := w.see(ctx, at)
	s, now := w.of(key), time.Now()
	left := s.Since.Add(bound(at.box)).Sub(now)
	switch {
	case s.Since.IsZero():
	case errors.Is(err, drivers.ErrNotRunning): // the engine tells the fleet, too
		w.forget(key)
	case errors.Is(err, drivers.ErrNotTold):
		w.untold(at, s)
	case left > 0:
		w.again(key, left)
	default:
		if err == nil || errors.Is(err, drivers.ErrUnseen) { // else its engine does not answer
			w.tooLate(at)
		}
		w.again(key, lateLook)
	}
}

// untold is called when it can never be known what a sandbox sees. It sees what was published once
// its driver's bound is over.
func (w *Watch) untold(at sight, s Sight) {
	if left := time.Until(s.PublishedAt.Add(bound(at.box))); left > 0 {
		w.again(at.key(), left)
		return
	}
	w.told(at, s.Published)
}

// told has the sandbox told that it sees a generation of its own share.
func (w *Watch) told(at sight, generation uint64) {
	if at.share == nil {
		w.opts.Saw(at.box, generation)
	}
}

// bound is how long a generation may be unseen in a sandbox before that is told.
func bound(box *sandbox.Sandbox) time.Duration { return box.Rec().Staleness + Slack }

func (w *Watch) again(key string, after time.Duration) {
	at := time.Now().Add(after)
	w.looks.Set(key, at, at)
}

func (w *Watch) forget(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.known, key)
}

// untimed notes that the sandbox did not run when its generation was published.
func (w *Watch) untimed(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.known[key]; s != nil {
		s.PublishedAt, s.Since = time.Time{}, time.Now()
	}
}

// see asks the driver which generation the sandbox sees, and notes the answer. Callers who ask at
// the same time share one question.
func (w *Watch) see(ctx context.Context, at sight) (uint64, error) {
	answer := w.once.DoChan(at.key(), func() (any, error) {
		seer, ok := at.box.Driver().(drivers.Seer)
		if !ok {
			err := fmt.Errorf("%w: its driver does not tell", drivers.ErrNotTold)
			w.failed(at.key(), err)
			return uint64(0), err
		}
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTime)
		defer cancel()
		n, when, err := seer.Seen(bounded, at.box.ID, at.name())
		if err != nil {
			w.failed(at.key(), err)
			return uint64(0), err
		}
		if when.IsZero() {
			when = time.Now()
		}
		w.saw(at, n, when)
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
func (w *Watch) failed(key string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.known[key]; s != nil {
		s.Problem = line(err)
	}
}

// saw notes what a sandbox saw, and tells how long that took.
func (w *Watch) saw(at sight, n uint64, when time.Time) {
	w.mu.Lock()
	s := w.known[at.key()]
	if s == nil {
		s = &Sight{}
		w.known[at.key()] = s
	}
	fresh, timed := n > s.Seen, n == s.Published && !s.PublishedAt.IsZero()
	s.Problem = ""
	if fresh {
		s.Seen, s.SeenAt, s.Took = n, when, 0
		if timed {
			s.Took = max(when.Sub(s.PublishedAt), time.Microsecond)
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
	if fresh {
		w.told(at, n)
	}
	if was.Late && n >= was.Published {
		w.tellSeen(at, was)
	}
}

// tooLate notes that the bound is over. It is told once, and before a word that it is seen after all.
func (w *Watch) tooLate(at sight) {
	now := w.of(at.key())
	if now.Late || now.Since.IsZero() {
		return
	}
	w.opts.Late()
	w.roster.Log.Warn("a sandbox does not see what was published", "sandbox", at.box.ID, "name", at.box.Rec().Name,
		"share", at.name(), "published", now.Published, "seen", now.Seen, "bound", bound(at.box), "reason", now.Problem)
	at.box.Tell(api.EventUnseen, at.details("generation", fmt.Sprint(now.Published), "seen", fmt.Sprint(now.Seen),
		"reason", now.Problem)...)
	w.mu.Lock()
	s := w.known[at.key()]
	meanwhile := s != nil && s.Since.IsZero()
	if s != nil && !meanwhile {
		s.Late = true
	}
	w.mu.Unlock()
	if meanwhile {
		w.tellSeen(at, now)
	}
}

// tellSeen tells that what was late is seen after all.
func (w *Watch) tellSeen(at sight, was Sight) {
	now := w.of(at.key())
	w.roster.Log.Info("a sandbox sees what was published after all", "sandbox", at.box.ID, "name", at.box.Rec().Name,
		"share", at.name(), "generation", now.Seen)
	after := time.Since(was.Since).Round(time.Millisecond)
	at.box.Tell(api.EventSeen, at.details("generation", fmt.Sprint(now.Seen), "after", after.String())...)
}
