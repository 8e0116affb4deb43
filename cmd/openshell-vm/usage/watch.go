// Package usage watches what running sandboxes use. Each is asked by a goroutine of its own:
// an engine that does not answer holds up no other's line.
package usage

import (
	"context"
	"sync"
	"time"

	"openshell-vm/gateway/api"
)

// Patience is how long Settle waits for a sandbox. It is for one whose engine hangs.
const Patience = 5 * time.Second

// Watch asks for what sandboxes use, until Close. Its methods are for one goroutine.
type Watch struct {
	client *api.Client
	every  time.Duration
	ctx    context.Context
	stop   context.CancelFunc

	order []string
	all   map[string]*watched
}

// watched is one sandbox.
type watched struct {
	id, name string
	stop     context.CancelFunc
	settled  chan struct{} // closed at the second sample, or at a failure
	since    time.Time

	mu           sync.Mutex
	before, last *api.Usage // the last two samples; nil if there is none, or if they are old
	problem      string
}

// NewWatch watches nothing yet.
func NewWatch(client *api.Client, every time.Duration) *Watch {
	ctx, stop := context.WithCancel(context.Background())
	return &Watch{client: client, every: every, ctx: ctx, stop: stop, all: map[string]*watched{}}
}

// Close ends all watching.
func (w *Watch) Close() { w.stop() }

// Follow watches these sandboxes from now on, and no others.
func (w *Watch) Follow(boxes []api.Sandbox) {
	w.order = nil
	wanted := map[string]bool{}
	for _, box := range boxes {
		if wanted[box.ID] {
			continue
		}
		wanted[box.ID] = true
		w.order = append(w.order, box.ID)
		if one := w.all[box.ID]; one != nil {
			one.name = box.Name
			continue
		}
		ctx, stop := context.WithCancel(w.ctx)
		one := &watched{id: box.ID, name: box.Name, stop: stop, settled: make(chan struct{}), since: time.Now()}
		w.all[box.ID] = one
		go one.watch(ctx, w.client, w.every)
	}
	for id, one := range w.all {
		if !wanted[id] {
			one.stop()
			delete(w.all, id)
		}
	}
}

// Settle waits until each sandbox has been asked twice, or for Patience since it was first
// asked.
func (w *Watch) Settle(ctx context.Context) error {
	for _, one := range w.all {
		timer := time.NewTimer(time.Until(one.since.Add(Patience)))
		select {
		case <-one.settled:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	return ctx.Err()
}

func (o *watched) watch(ctx context.Context, client *api.Client, every time.Duration) {
	settle := sync.OnceFunc(func() { close(o.settled) })
	for {
		asked, cancel := context.WithTimeout(ctx, Patience)
		now, err := client.Usage(asked, o.id)
		cancel()
		o.mu.Lock()
		if err != nil {
			o.before, o.last, o.problem = nil, nil, err.Error()
		} else {
			o.before, o.last, o.problem = o.last, &now, ""
		}
		done := err != nil || o.before != nil
		o.mu.Unlock()
		if done {
			settle()
		}
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return
		}
	}
}
