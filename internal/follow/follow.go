// Package follow follows files of the host: it tells what a file holds, each time that it has
// changed and come to rest.
//
// It watches directories and never files, so it sees a file that is written in place, one that
// is replaced by a rename, a symbolic link that is swapped (as Kubernetes' ..data is), and a
// file that is removed and comes back. It also looks at each file every few seconds: some file
// systems tell of no change, such as NFS and FUSE.
//
// When a file has come to rest: two looks, at least Options.Quiet apart, found the same file by
// device, inode, size and the times of its content and of its inode; and they are the same
// after it was read. What can't be known: a writer that pauses for longer than that in the
// middle of a file has written a whole one, as far as anybody can tell. A writer that replaces
// the file by a rename is never seen halfway. Whoever follows a file checks its content, too.
//
// A directory is followed as a whole (see FollowTree): it has come to rest when all in it has. So a
// swap of Kubernetes' ..data is seen whole. Two files that are changed one after the other, with a
// pause between them, are two changes.
//
// What is promised: only regular files are read, and no more than the caller allows. A FIFO, a
// device or a file system that hangs blocks nothing but the look at that file, which is given
// up after Options.Deadline. There is one goroutine and one inotify instance for all files, and
// some more goroutines while files are looked at: a few, and one for each of the first 64 files
// that hang. A file that several follow is looked at once. No file stays open.
package follow

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// Options say how files are followed. The zero value of each field means the usual.
type Options struct {
	Every    time.Duration // between two looks at a file of which no event tells; usually 5 s
	Quiet    time.Duration // for which a file must not have changed; usually 300 ms
	Deadline time.Duration // of one look; usually 5 s
	NoEvents bool          // only look
	// Judge refuses a file that must not be read, before it is; nil refuses none. Of a directory it
	// gets all that is in it at once. It may take as long as a look, and is called concurrently.
	Judge func(paths ...string) error
	Log   *slog.Logger // for what is wrong with watching at all; nil for nowhere
}

const (
	pause      = 50 * time.Millisecond // between two looks at one file, however many events tell of it
	patience   = 10 * time.Second      // with a file that does not come to rest, until that is told
	maxLooking = 8                     // looks under way, without those that hang
	maxHanging = 64
)

var (
	// ErrHangs means that a look at a file did not end in time.
	ErrHangs = errors.New("its file system does not answer")
	// ErrRestless means that a file changes too often to be read whole.
	ErrRestless = errors.New("it changes all the while")
)

// Found is what is in a file, or why it can't be read.
type Found struct {
	Data []byte // shared by all who follow the file: do not change it
	// Files are what a directory holds, by their paths in it, and nil for a file. They are shared, too.
	Files map[string][]byte
	Err   error  // nil for a file that was read whole
	Mode  uint32 // its permissions
}

// Follower follows files. It is safe for concurrent use. It does nothing before Run.
type Follower struct {
	opts    Options
	watches *watches
	results chan result
	wake    chan struct{} // capacity 1

	mu      sync.Mutex // a leaf
	files   map[key]*file
	waiting queue // those that are not looked at, by when they are
	looking map[*file]struct{}
	calls   []func() // to tell what was found, once mu is free
}

// key is what is followed: two who allow different sizes look at different files.
type key struct {
	path string
	most int64
	tree Limits
}

// file is one that is followed. The follower's mu guards it.
type file struct {
	key
	tellers map[*teller]struct{}
	next    time.Time // of the next look
	last    time.Time // the last look's begin
	hangs   bool      // the look under way has no end
	seen    stamp     // what the last look found
	since   time.Time // it was first seen like that
	unrest  time.Time // when it was at rest last
	at      int       // its place in the queue; -1 while it is looked at
}

// teller is one who follows a file.
type teller struct {
	tell func(Found)
	told stamp
}

// New makes a follower of no files.
func New(o Options) *Follower {
	o.Every, o.Quiet = cmp.Or(o.Every, 5*time.Second), cmp.Or(o.Quiet, Quiet)
	o.Deadline, o.Log = cmp.Or(o.Deadline, 5*time.Second), cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	return &Follower{opts: o, watches: newWatches(o), results: make(chan result), wake: make(chan struct{}, 1),
		files: map[key]*file{}, looking: map[*file]struct{}{}}
}

// Follow calls tell with what is in the file now, and again whenever that is another. It is
// called by Run's goroutine, and must not block. stop ends it; tell may still be called once
// while stop is. The path is absolute. Of a file with more bytes than most nothing is read.
func (f *Follower) Follow(path string, most int64, tell func(Found)) (stop func()) {
	return f.follow(key{path: path, most: most}, tell)
}

// FollowTree is Follow for a file or a directory, whichever is there at the time. A directory is
// whole: it is told of as a set of files, as they were together at one moment. One file that can't be
// read is an error about all of them. Names that begin with ".." are skipped, links lead to what is
// told of, and other than files and directories are an error.
func (f *Follower) FollowTree(path string, most int64, l Limits, tell func(Found)) (stop func()) {
	return f.follow(key{path, most, l}, tell)
}

func (f *Follower) follow(k key, tell func(Found)) (stop func()) {
	t, now := &teller{tell: tell}, time.Now()
	f.mu.Lock()
	one := f.files[k]
	if one == nil {
		one = &file{key: k, tellers: map[*teller]struct{}{}, next: now, unrest: now}
		f.files[k] = one
		heap.Push(&f.waiting, one)
	}
	one.tellers[t] = struct{}{}
	f.hasten(one, now)
	f.mu.Unlock()
	f.nudge()
	return func() { f.leave(one, t) }
}

// Read reads a file for who waits for it: see the function Read.
func (f *Follower) Read(ctx context.Context, path string, most int64) Found {
	return Read(ctx, path, most, f.opts.Judge)
}

// Retell has what is in a file told again to all who follow it: one of them has found something
// else there meanwhile.
func (f *Follower) Retell(path string) {
	f.mu.Lock()
	for k, one := range f.files {
		if k.path != path {
			continue
		}
		for t := range one.tellers {
			t.told = stamp{}
		}
		f.hasten(one, time.Now())
	}
	f.mu.Unlock()
	f.nudge()
}

// leave ends what Follow began.
func (f *Follower) leave(one *file, t *teller) {
	f.mu.Lock()
	delete(one.tellers, t)
	last := len(one.tellers) == 0 && f.files[one.key] == one
	if last {
		delete(f.files, one.key)
		if one.at >= 0 {
			heap.Remove(&f.waiting, one.at)
		}
	}
	f.mu.Unlock()
	if last {
		f.watches.forget(one)
	}
}

func (f *Follower) nudge() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Run follows until ctx ends.
func (f *Follower) Run(ctx context.Context) {
	defer f.watches.open()()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		case <-timer.C:
		case r := <-f.results:
			f.take(r)
		case location := <-f.watches.found:
			f.changed(f.watches.at(location))
		case <-f.watches.over:
			f.changed(nil)
		}
		timer.Reset(f.begin(ctx))
		f.tell()
	}
}

// tell tells what was found.
func (f *Follower) tell() {
	f.mu.Lock()
	calls := f.calls
	f.calls = nil
	f.mu.Unlock()
	for _, call := range calls {
		call()
	}
}

// changed makes looks at files due; nil for all of them.
func (f *Follower) changed(some map[*file]struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if some == nil {
		for _, one := range f.files {
			f.hasten(one, now)
		}
	}
	for one := range some {
		f.hasten(one, now)
	}
}

// hasten makes the next look at a file due now. The caller holds mu.
func (f *Follower) hasten(one *file, now time.Time) {
	if at := later(now, one.last.Add(pause)); at.Before(one.next) {
		one.next = at
		if one.at >= 0 && f.files[one.key] == one {
			heap.Fix(&f.waiting, one.at)
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// begin begins the looks that are due, and returns how long nothing else is.
func (f *Follower) begin(ctx context.Context) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, idle, hanging := time.Now(), f.opts.Every, 0
	for one := range f.looking {
		left := one.last.Add(f.opts.Deadline).Sub(now)
		if !one.hangs && left <= 0 {
			one.hangs = true
			one.seen = stamp{problem: ErrHangs.Error()}
			f.settle(one, one.seen, Found{Err: ErrHangs})
		}
		if one.hangs {
			hanging++
		} else {
			idle = min(idle, left)
		}
	}
	for len(f.waiting) > 0 {
		one := f.waiting[0]
		if left := one.next.Sub(now); left > 0 {
			return min(idle, left)
		}
		if len(f.looking)-min(hanging, maxHanging) >= maxLooking {
			break // a look that ends begins it
		}
		heap.Pop(&f.waiting)
		f.look(ctx, one, now)
	}
	return idle
}

// look begins a look at a file. The caller holds mu.
func (f *Follower) look(ctx context.Context, one *file, now time.Time) {
	f.looking[one] = struct{}{}
	one.last, one.next = now, now.Add(f.opts.Every)
	known, rested := one.seen, now.Sub(one.since) >= f.opts.Quiet && one.owing(one.seen)
	go func() {
		r := look(one.key, known, rested, f.opts.Judge)
		r.file = one
		select {
		case f.results <- r:
		case <-ctx.Done():
		}
	}()
}

// owing reports whether there is somebody who was not told of this. The caller holds mu.
func (one *file) owing(s stamp) bool {
	for t := range one.tellers {
		if t.told != s {
			return true
		}
	}
	return false
}

// take takes over what a look found.
func (f *Follower) take(r result) {
	f.mu.Lock()
	defer f.mu.Unlock()
	one, now := r.file, time.Now()
	delete(f.looking, one)
	one.hangs = false
	if f.files[one.key] != one {
		return // nobody follows it any more
	}
	f.watches.watch(one, r.locations)
	switch {
	case r.stamp != one.seen:
		one.seen, one.since = r.stamp, now
		one.next = now.Add(f.opts.Quiet)
		if now.Sub(one.unrest) > patience {
			f.settle(one, stamp{problem: ErrRestless.Error()}, Found{Err: ErrRestless})
		}
	case r.found != nil:
		one.unrest = now
		f.settle(one, r.told, *r.found)
	case one.owing(one.seen): // it has not come to rest, or could not be read
		if rest := one.since.Add(f.opts.Quiet); rest.After(now) {
			one.next = rest
		}
	default:
		one.unrest = now
	}
	heap.Push(&f.waiting, one)
}

// settle tells those who were not told yet. The caller holds mu.
func (f *Follower) settle(one *file, s stamp, found Found) {
	for t := range one.tellers {
		if t.told != s {
			t.told = s
			f.calls = append(f.calls, func() { t.tell(found) })
		}
	}
}

// queue is a heap of files by their next look. See container/heap.
type queue []*file

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].next.Before(q[j].next) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at, q[j].at = i, j
}

// Push and Pop are for container/heap.
func (q *queue) Push(x any) {
	one := x.(*file)
	one.at = len(*q)
	*q = append(*q, one)
}

func (q *queue) Pop() any {
	last := len(*q) - 1
	one := (*q)[last]
	one.at = -1
	*q = (*q)[:last]
	return one
}
