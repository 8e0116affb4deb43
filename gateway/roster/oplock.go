package roster

import (
	"context"
	"errors"
	"sync"

	"openshell-vm/gateway/api"
)

// OpLock is held by whoever creates, starts, stops or removes one sandbox. A
// wait for it ends with the caller's context: who gave up leaves nothing queued.
//
// A removal that is forced, or a stop, does not wait for a start that hangs:
// the holder says what it can be cancelled by, and those who ask for the lock
// urgently use that. While one of them waits, the reconciler begins nothing.
type OpLock struct {
	mu     sync.Mutex    // a leaf: nothing is locked under it
	held   chan struct{} // capacity 1; made at its first use
	urgent int           // who waits urgently
	kind   api.State     // starting or stopping, while cancel is set
	cancel context.CancelCauseFunc
}

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

// LockUrgently cancels what is under way, if it is of one of these kinds, and
// waits for its end.
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

// Urgent is how many wait urgently.
func (l *OpLock) Urgent() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.urgent
}

// TryLock never waits, and lets those who wait urgently go first.
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

// Unlock ends the operation. It panics if there is none.
func (l *OpLock) Unlock() {
	select {
	case <-l.place():
	default:
		panic("unlock of an operation's lock that nobody holds")
	}
}

// MustBeHeld is for the functions whose caller holds the lock.
func (l *OpLock) MustBeHeld() {
	if len(l.place()) == 0 {
		panic("an operation on a sandbox without its lock")
	}
}

// Cancellable gives the holder a context that an urgent lock may cancel. The
// holder calls done at the end.
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

// Ended explains the error of something that was cancelled by who cancelled it.
func Ended(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if err == nil || cause == nil || errors.Is(cause, context.Canceled) || errors.Is(cause, context.DeadlineExceeded) {
		return err
	}
	return cause
}
