// Package whichdir tells which directories paths lead to, and does not wait for file systems that
// do not answer: an NFS whose server is away, a FUSE whose program hangs.
//
// What is promised: a question ends within Asker.Deadline. A file system that hangs holds one
// goroutine for each path that was asked about, however often that was. For such a path it is
// known on which file system the way to it ends, from the kernel's table of mounts, which asks
// nobody.
package whichdir

import (
	"cmp"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/follow"
	"openshell-vm/internal/inode"
	"openshell-vm/internal/mounts"
)

// usualDeadline is shorter than a look of package follow may take.
const usualDeadline = 3 * time.Second

// Asker asks. It is safe for concurrent use, and its zero value works.
type Asker struct {
	Deadline time.Duration // usually 3 s

	mu     sync.Mutex
	asking map[string]*question // under way
}

// Answer is what is known of a path.
type Answer struct {
	ID  inode.ID
	Err error // why there is nothing
	// Hangs is the device of the file system that does not answer, as Device says it. Then ID and
	// Err are empty. It is Unknown if the kernel does not tell.
	Hangs string
}

// Unknown is a device that may be any.
const Unknown = "?"

// Device is the device of a file's or directory's file system, as the kernel's table of mounts has
// it. A btrfs has others there; it is on disks, which do not hang.
func Device(id inode.ID) string {
	return fmt.Sprintf("%d:%d", unix.Major(id.Device), unix.Minor(id.Device))
}

// question is what is asked about one path.
type question struct {
	began time.Time
	done  chan struct{}
	mu    sync.Mutex
	at    string // the name that is asked about; no link leads to it
	hangs string // Answer.Hangs, once the question was late
	got   Answer
}

// Ask asks about all paths at once, and returns what is known of each. They are absolute.
func (a *Asker) Ask(paths ...string) []Answer {
	questions := make([]*question, len(paths))
	for i, path := range paths {
		questions[i] = a.begin(path)
	}
	answers := make([]Answer, len(paths))
	for i, q := range questions {
		left := time.NewTimer(time.Until(q.began.Add(cmp.Or(a.Deadline, usualDeadline))))
		select {
		case <-q.done:
			answers[i] = q.got
		case <-left.C:
			answers[i] = q.late()
		}
		left.Stop()
	}
	return answers
}

// begin begins a question about a path, unless one is under way.
func (a *Asker) begin(path string) *question {
	a.mu.Lock()
	defer a.mu.Unlock()
	if q := a.asking[path]; q != nil {
		return q
	}
	q := &question{began: time.Now(), done: make(chan struct{}), at: "/"}
	if a.asking == nil {
		a.asking = map[string]*question{}
	}
	a.asking[path] = q
	go func() {
		q.ask(path)
		a.mu.Lock()
		delete(a.asking, path)
		a.mu.Unlock()
		close(q.done)
	}()
	return q
}

// ask goes all the way to a path, and notes where it is.
func (q *question) ask(path string) {
	note := func(name string) {
		q.mu.Lock()
		q.at = name
		q.mu.Unlock()
	}
	if _, q.got.Err = follow.Steps(path, note); q.got.Err == nil {
		q.got.ID, q.got.Err = inode.Of(path)
	}
}

// late is the answer to a question that has no time left. Where it hangs is found out once: when the
// dead file system is unmounted, its name is for a moment that of what lay below.
func (q *question) late() Answer {
	select {
	case <-q.done: // just in time
		return q.got
	default:
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.hangs == "" {
		q.hangs = DeviceAt(q.at)
	}
	return Answer{Hangs: q.hangs}
}

// DeviceAt returns the device of the file system that a path without links would be on. It asks
// only the kernel.
func DeviceAt(path string) string {
	table, err := mounts.Read(mounts.Self)
	if err != nil {
		return Unknown
	}
	device, point := Unknown, ""
	for _, e := range table { // of two at one place the later one lies above
		if mounts.Within(path, e.Point) && len(e.Point) >= len(point) {
			device, point = e.Device, e.Point
		}
	}
	return device
}
