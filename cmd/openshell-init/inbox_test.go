package main

import (
	"bytes"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// asked counts what the host was asked.
type asked struct{ pauses, resumes, ends int }

func (a *asked) inbox(w io.Writer) *inbox {
	b := newInbox(func() { a.pauses++ }, func() { a.resumes++ })
	go func() {
		b.feed(w)
		a.ends++
	}()
	return b
}

func TestInboxPassesOnInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got bytes.Buffer
		var a asked
		b := a.inbox(&got)
		p := []byte("one ")
		b.add(p)
		copy(p, "xxxx") // the caller's buffer is its own again
		b.add([]byte("two"))
		b.close()
		b.add([]byte("too late"))
		synctest.Wait()
		if got.String() != "one two" || a != (asked{ends: 1}) {
			t.Errorf("%q arrived, %+v", got.String(), a)
		}
	})
}

func TestInboxHoldsTheHostBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		var a asked
		b := a.inbox(w)
		chunk := make([]byte, inboxPause/4)
		for range 12 {
			if !b.add(chunk) {
				t.Fatal("the input is over its limit")
			}
		}
		synctest.Wait()
		if a != (asked{pauses: 1}) {
			t.Errorf("before anything is read: %+v", a)
		}
		if n, err := io.CopyN(io.Discard, r, 12*int64(len(chunk))); err != nil {
			t.Fatal(n, err)
		}
		synctest.Wait()
		if a != (asked{pauses: 1, resumes: 1}) {
			t.Errorf("after all is read: %+v", a)
		}
		b.close()
		synctest.Wait()
		if a.ends != 1 {
			t.Errorf("at the end: %+v", a)
		}
	})
}

func TestInboxLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		var a asked
		b := a.inbox(w)
		chunk := make([]byte, 1<<20)
		taken := 0
		for b.add(chunk) {
			if taken++; taken > 100 {
				t.Fatal("there is no limit")
			}
		}
		// One chunk may be on its way out of the queue.
		if limit := inboxLimit / len(chunk); taken != limit && taken != limit+1 {
			t.Errorf("%d MiB were queued", taken)
		}
		if n, err := io.CopyN(io.Discard, r, int64(taken*len(chunk))); err != nil {
			t.Fatal(n, err)
		}
		synctest.Wait()
		if a.ends != 1 {
			t.Errorf("the input does not end: %+v", a)
		}
	})
}

func TestInboxWithoutReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		r.CloseWithError(errors.New("gone"))
		var a asked
		b := a.inbox(w)
		for range 2 * inboxLimit / inboxPause {
			if !b.add(make([]byte, inboxPause)) {
				t.Fatal("what nobody reads piles up")
			}
			synctest.Wait()
		}
		if a.ends != 1 || a.pauses != a.resumes {
			t.Errorf("in the end: %+v", a)
		}
	})
}

func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gate
		g.wait() // open at first
		g.shut()
		g.shut()
		var passed atomic.Int32
		for range 3 {
			go func() { g.wait(); passed.Add(1) }()
			synctest.Wait()
		}
		if passed.Load() != 0 {
			t.Error("a shut gate lets through")
		}
		g.open()
		synctest.Wait()
		if passed.Load() != 3 {
			t.Errorf("%d of 3 went through the open gate", passed.Load())
		}
		g.open()
	})
}
