package seen

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/sandbox"
	"openshell-vm/share"
)

// The limits of Wait, and its pauses: they double.
const (
	maxWaits    = 1000
	longestWait = time.Hour
	firstPause  = 10 * time.Millisecond
	mostPause   = 160 * time.Millisecond
	findAgain   = time.Second // who has a share mounted
)

// viewer is one who has a share mounted. It returns the generation that it sees.
type viewer struct {
	name string
	look func(context.Context) (uint64, error)
}

// Wait returns once all who have an item's share mounted see a generation or a later one. For a
// sandbox that is the sandbox. It fails with api.CodeNotSeen if they do not in time, if nothing has
// the share mounted, or if what they see can't be known.
func (w *Watch) Wait(ctx context.Context, it *roster.Item, q api.SeenRequest) (api.SeenResult, error) {
	if q.Timeout < 0 || q.Timeout > longestWait {
		return api.SeenResult{}, &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("%v is no time to wait", q.Timeout),
			Hint: fmt.Sprintf("give one of at most %v", longestWait)}
	}
	if w.waits.Add(1) > maxWaits {
		w.waits.Add(-1)
		return api.SeenResult{}, &api.Error{Code: api.CodeOverloaded,
			Message: fmt.Sprintf("%d others wait already", maxWaits), Hint: "try again"}
	}
	defer w.waits.Add(-1)
	if err := it.Present(); err != nil {
		return api.SeenResult{}, err
	}
	if q.Generation == 0 {
		var err error
		if q.Generation, err = published(it); err != nil {
			return api.SeenResult{}, it.Blame(err)
		}
	}
	q.Timeout = cmp.Or(q.Timeout, it.Rec().Staleness+Slack)
	return w.wait(ctx, it, q)
}

// Waiting counts the callers of Wait.
func (w *Watch) Waiting() int { return int(w.waits.Load()) }

// published is the generation that a share holds now.
func published(it *roster.Item) (uint64, error) {
	if token, _ := it.Lease.Renewal(); token.Generation > 0 {
		return token.Generation, nil
	}
	now, err := share.Read(it.Lease.Share().AuthDir())
	return now.Generation, err
}

func (w *Watch) wait(ctx context.Context, it *roster.Item, q api.SeenRequest) (api.SeenResult, error) {
	began := time.Now()
	bounded, cancel := context.WithTimeout(ctx, q.Timeout)
	defer cancel()
	var viewers []viewer
	found := time.Time{}
	var before []api.SeenBy
	for pause := firstPause; ; pause = min(2*pause, mostPause) {
		if !it.Rec().Own() || time.Since(found) > findAgain {
			var err error
			if viewers, err = w.viewers(bounded, it); err != nil {
				return api.SeenResult{}, err
			}
			found = time.Now()
		}
		result, err := round(bounded, it, viewers, q.Generation)
		if ctx.Err() != nil {
			return result, ctx.Err()
		}
		if err != nil || result.Seen {
			result.Took = time.Since(began)
			return result, err
		}
		remember(result.Viewers, before)
		before = result.Viewers
		select {
		case <-time.After(pause):
		case <-bounded.Done():
			if ctx.Err() != nil {
				return result, ctx.Err()
			}
			return result, notInTime(it, q, result.Viewers)
		}
	}
}

// cutOff is told of a viewer if the time was over in the middle of a look.
const cutOff = "the look at it does not end"

// remember puts what was known before in the place of looks that were cut off.
func remember(now, before []api.SeenBy) {
	for i, v := range now {
		at := slices.IndexFunc(before, func(b api.SeenBy) bool { return b.Name == v.Name })
		if v.Problem == cutOff && at >= 0 {
			now[i] = before[at]
		}
	}
}

// round looks at all viewers once.
func round(ctx context.Context, it *roster.Item, viewers []viewer, generation uint64) (r api.SeenResult, err error) {
	r.Generation, r.Seen = generation, true
	for _, v := range viewers {
		n, err := v.look(ctx)
		if errors.Is(err, drivers.ErrNotRunning) && len(viewers) > 1 {
			continue // it has ended
		}
		one := api.SeenBy{Name: v.name, Generation: n}
		switch {
		case errors.Is(err, drivers.ErrNotRunning):
			return r, nobody(it)
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil:
			one.Problem = cutOff
		case err != nil:
			one.Problem = line(err)
		}
		r.Seen = r.Seen && err == nil && n >= generation
		r.Viewers = append(r.Viewers, one)
	}
	if len(r.Viewers) == 0 {
		return r, nobody(it)
	}
	return r, nil
}

func (w *Watch) viewers(ctx context.Context, it *roster.Item) ([]viewer, error) {
	if err := it.Present(); err != nil {
		return nil, err
	}
	if box, ok := it.Owner.(*sandbox.Sandbox); ok {
		return []viewer{w.viewer(sight{box: box})}, nil
	}
	return w.mounting(ctx, it)
}

// viewer is a sandbox that sees a share.
func (w *Watch) viewer(at sight) viewer {
	name := at.box.Rec().Name
	if state := at.box.Snapshot().State; state == api.StateStarting || state == api.StateRestarting {
		return viewer{name, func(context.Context) (uint64, error) {
			return 0, fmt.Errorf("%w: it is %s", drivers.ErrNotTold, state)
		}}
	}
	return viewer{name, func(ctx context.Context) (uint64, error) { return w.see(ctx, at) }}
}

// nobody says that nothing runs that could see the share.
func nobody(it *roster.Item) error {
	name := it.Rec().Name
	if it.Rec().Own() {
		return &api.Error{Code: api.CodeNotSeen,
			Message: fmt.Sprintf("nothing that runs has the share %s mounted, as far as can be seen", name),
			Hint:    "what starts with it sees the newest generation from its beginning"}
	}
	return &api.Error{Code: api.CodeNotSeen, Message: fmt.Sprintf("sandbox %s does not run, so it sees nothing", name),
		Hint: "it sees the newest generation from its next start: openshell-vm start " + name}
}

// notInTime words what was seen in place of the generation.
func notInTime(it *roster.Item, q api.SeenRequest, viewers []api.SeenBy) error {
	e := &api.Error{Code: api.CodeNotSeen, Hint: "openshell-vm inspect " + it.Rec().Name + " shows what it saw last"}
	if it.Rec().Own() {
		e.Hint = "restart what has the share mounted"
	}
	e.Hint += "; openshell-vm share wait --timeout 1m " + it.Rec().Name + " waits longer"
	if now, err := published(it); err == nil && now < q.Generation {
		e.Message = fmt.Sprintf("generation %d of %s is not published: after %v the newest is %d",
			q.Generation, it.Rec().Name, q.Timeout, now)
		e.Hint = "openshell-vm share put prints the generation that it publishes"
		return e
	}
	for _, v := range viewers {
		switch {
		case v.Problem != "":
			e.Message = fmt.Sprintf("%s is not known to see generation %d after %v: %s", v.Name, q.Generation, q.Timeout, v.Problem)
		case v.Generation < q.Generation && e.Message == "":
			e.Message = fmt.Sprintf("%s does not see generation %d after %v: it sees %d", v.Name, q.Generation, q.Timeout, v.Generation)
		}
	}
	if e.Message == "" {
		e.Message = fmt.Sprintf("%v was too short to look at %s", q.Timeout, it.Rec().Name)
	}
	return e
}
