package roster

import (
	"context"
	"errors"
	"sync"

	"openshell-vm/gateway/api"
)

// OpLock is held by whoever creates, starts, stops or removes one item. A wait for it ends
// with the caller's context. A caller who gave up leaves nothing queued.
//
// A stop or a forced removal does not wait for a start that hangs. The holder offers a way
// to cancel its operation (Cancellable), and LockUrgently uses it. While somebody waits in
// LockUrgently, TryLock fails, so the reconciler begins nothing.
type OpLock struct {
	mu     sync.Mutex    // a leaf: nothing is locked under it
	held   chan struct{} // capacity 1; made at its first use
	urgent int           // how many wait in LockUrgently
	kind   api.State     // starting or stopping, while cancel is set
	cancel context.CancelCauseFunc
}

// place returns the channel that is full while the lock is held.
func (l *OpLock) place() chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = make(chan struct{}, 1)
	}
	return l.held
}

// Lock waits for the lock until ctx ends.
func (l *OpLock) Lock(ctx context.Context) error {
	held := l.place()
	select {
	case held <- struct{}{}:
		return nil
	default: // a free lock is taken even if ctx has ended
	}
	select {
	case held <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// LockUrgently takes the lock like Lock. Before that it cancels the operation under way
// with why, if the operation is of one of these kinds.
func (l *OpLock) LockUrgently(ctx context.Context, why error, kinds ...api.State) error {
	l.mu.Lock()
	l.urgent++
	for _, kind := range kinds {
		if l.cancel != nil && l.kind == kind {
			l.cancel(why)
		}
	}
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.urgent--
		l.mu.Unlock()
	}()
	return l.Lock(ctx)
}

// Urgent returns how many wait in LockUrgently.
func (l *OpLock) Urgent() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.urgent
}

// TryLock takes the lock if it is free and nobody waits in LockUrgently. It never waits.
func (l *OpLock) TryLock() bool {
	select {
	case l.place() <- struct{}{}:
	default:
		return false
	}
	l.mu.Lock()
	urgent := l.urgent > 0
	l.mu.Unlock()
	if urgent {
		l.Unlock()
	}
	return !urgent
}

// Unlock releases the lock. It panics if nobody holds it.
func (l *OpLock) Unlock() {
	select {
	case <-l.place():
	default:
		panic("unlock of an operation's lock that nobody holds")
	}
}

// MustBeHeld panics if nobody holds the lock. Functions call it whose caller must.
func (l *OpLock) MustBeHeld() {
	if len(l.place()) == 0 {
		panic("an operation on a sandbox without its lock")
	}
}

// Cancellable returns a context for an operation of this kind, starting or stopping.
// LockUrgently may cancel it. The holder of the lock calls done at the operation's end.
func (l *OpLock) Cancellable(ctx context.Context, kind api.State) (_ context.Context, done func()) {
	l.MustBeHeld()
	ctx, cancel := context.WithCancelCause(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kind, l.cancel = kind, cancel
	return ctx, func() {
		l.mu.Lock()
		l.cancel = nil
		l.mu.Unlock()
		cancel(nil)
	}
}

// Ended returns the cause if LockUrgently cancelled ctx, and err otherwise. A nil err stays
// nil.
func Ended(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if err == nil || cause == nil || errors.Is(cause, context.Canceled) || errors.Is(cause, context.DeadlineExceeded) {
		return err
	}
	return cause
}
