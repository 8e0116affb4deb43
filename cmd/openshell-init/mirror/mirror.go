// Package mirror keeps a copy of a share in the guest's own memory. There the kernel tells
// programs of each change (inotify), which it can't for what the host does behind virtio-fs.
//
// A mirror looks like the share: ..data leads to a whole generation, published names are links
// through it, and a new generation comes by one rename of ..data. What it promises:
//
//   - ..data leads to a copy of a whole generation, with the modes, owners and times of its
//     files, or to the share itself.
//   - It is one look behind the guest's view of the share at most: [Every].
//   - A mirror that can't follow steps aside: its ..data leads to the share then, so that whoever
//     opens a file gets what the share has. That is so when memory is short, when the share can't
//     be read, and when no look ended for a while, as after a pause of the guest.
//   - What the share does not keep any more is gone from the mirror one look later.
//
// What it does not promise: that superseded generations stay as long as in the share. If there is
// no room for a new one, the oldest go.
package mirror

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"openshell-vm/share/layout"
)

const (
	// Every is how often a mirror looks at its share by itself.
	Every = time.Second
	// patience is for how long no look may end until the mirror steps aside.
	patience = 3 * time.Second
	// tries is how often a generation may be superseded and pruned while it is copied.
	tries = 3
	// fullFor is for how long a generation that finds no room, even alone, is not tried again.
	fullFor = 10 * time.Second
)

// Mirror is the copy of one share.
type Mirror struct {
	share *os.Root
	copy  *os.Root
	aside string               // ..data of the share, as the sandbox sees it
	say   func(problem string) // told of each change; "" means that all is well again

	looking chan struct{} // full while the share is asked, which may never end
	kept    []uint64      // the generations in copy, in ascending order
	full    noRoom        // the last generation that found no room

	mu      sync.Mutex // held while ..data is changed; the share is not asked meanwhile
	shown   uint64     // the generation that ..data leads to; 0 for the share itself
	linked  uint64     // the generation that the links and the newest announcement are for
	looked  time.Time  // when the last look ended
	problem string
}

// noRoom is a generation that did not fit.
type noRoom struct {
	generation uint64
	at         time.Time
	err        error
}

// New makes the mirror of the share in the directory share. dir, where it lies in memory, is empty.
// authDir is where the sandbox finds the share. say gets what is wrong with the mirror, when that
// changes; it must not wait. Until the first look the mirror leads to the share.
func New(share, dir, authDir string, say func(problem string)) (m *Mirror, err error) {
	m = &Mirror{aside: authDir + "/" + layout.Data, say: say, looking: make(chan struct{}, 1), looked: time.Now()}
	if m.share, err = os.OpenRoot(share); err != nil {
		return nil, fmt.Errorf("open the share: %w", err)
	}
	if m.copy, err = os.OpenRoot(dir); err != nil {
		m.share.Close()
		return nil, fmt.Errorf("open the mirror: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m, m.lead(m.aside, 0)
}

// Run looks at the share until ctx ends.
func (m *Mirror) Run(ctx context.Context) {
	go regularly(ctx, Every/2, m.guard)
	regularly(ctx, Every, m.Look)
}

// regularly calls f every so often, until ctx ends.
func regularly(ctx context.Context, every time.Duration, f func()) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		f()
	}
}

// guard steps aside when no look ends. It never asks the share, so nothing holds it up.
func (m *Mirror) guard() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Since(m.looked) > patience {
		m.stepAside(errNoAnswer)
	}
}

var (
	errNoAnswer = errors.New("the share was not looked at for some seconds")
	errPruned   = errors.New("its generations are pruned faster than they are copied")
)

// Look brings the mirror up to what the guest sees of the share now. It is safe for concurrent use. A
// nil Mirror does nothing.
func (m *Mirror) Look() {
	if m == nil {
		return
	}
	m.looking <- struct{}{}
	defer func() { <-m.looking }()
	n, err := m.follow()
	var published []string
	if err == nil {
		m.prune(n)
	} else {
		published = names(m.share, layout.Data)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.looked = time.Now()
	if err != nil {
		m.stepAside(err)
		_ = m.fixLinks(published) // the next look tries again
		return
	}
	m.tell("")
}

// follow shows the share's current generation.
func (m *Mirror) follow() (n uint64, err error) {
	for range tries {
		if n, err = current(m.share); err != nil {
			return n, err
		}
		if err = m.have(n); err == nil {
			return n, m.showInRoom(n)
		}
		if !errors.Is(err, errPruned) && !errors.Is(err, os.ErrNotExist) {
			return n, err
		}
	}
	return n, err
}

// have copies generation n, if that is not done yet. For want of room it drops superseded
// generations, the oldest first, and at last the one that is shown: the mirror steps aside for
// that long.
func (m *Mirror) have(n uint64) error {
	if m.full.generation == n && time.Since(m.full.at) < fullFor {
		return m.full.err // a program has what was removed still open, say; each try reads the whole share
	}
	for !slices.Contains(m.kept, n) {
		err := m.take(n)
		switch {
		case err == nil:
			m.kept = append(m.kept, n)
			slices.Sort(m.kept)
		case !lacksRoom(err):
			return err
		case len(m.kept) == 0:
			m.full = noRoom{n, time.Now(), err}
			return err
		case len(m.kept) == 1:
			m.mu.Lock()
			m.stepAside(err)
			m.mu.Unlock()
			fallthrough
		default:
			m.drop(m.kept[0])
		}
	}
	return nil
}

// lacksRoom reports whether an error is for want of the mirror's room, or of the guest's memory.
func lacksRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.ENOMEM)
}

// showInRoom shows generation n, which is here. If there is no room for its links it drops superseded
// generations, the oldest first.
func (m *Mirror) showInRoom(n uint64) error {
	err := m.show(n)
	for lacksRoom(err) && m.kept[0] != n {
		m.drop(m.kept[0])
		err = m.show(n)
	}
	return err
}

// show makes generation n, which is here, the current one:
//
//  1. Commit: rename a link to it to ..data.
//  2. Make the links of the names, and remove those of names that are not published any more.
//  3. Announce it.
func (m *Mirror) show(n uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.shown != n {
		if err := m.lead(layout.Generation(n), n); err != nil {
			return err
		}
	} else if m.linked == n {
		return nil
	}
	if err := m.fixLinks(names(m.copy, layout.Generation(n))); err != nil {
		return err
	}
	if err := m.copy.WriteFile(layout.Announcement(n), nil, 0o444); err != nil {
		return err
	}
	m.linked = n
	return nil
}

// stepAside makes ..data lead to the share itself. The caller holds mu.
func (m *Mirror) stepAside(why error) {
	if m.shown != 0 {
		if err := m.lead(m.aside, 0); err != nil {
			why = fmt.Errorf("%w; %w", why, err)
		}
	}
	m.tell(why.Error())
}

// lead makes ..data lead somewhere else, by one rename. The caller holds mu.
func (m *Mirror) lead(target string, n uint64) error {
	next := layout.New(max(n, 1))
	_ = m.copy.Remove(next) // of a try that failed
	if err := m.copy.Symlink(target, next); err != nil {
		return err
	}
	if err := m.copy.Rename(next, layout.Data); err != nil {
		return err
	}
	m.shown = n
	return nil
}

// tell tells of a change. The caller holds mu.
func (m *Mirror) tell(problem string) {
	if problem != m.problem {
		m.problem = problem
		m.say(problem)
	}
}

// current returns the generation that a share leads to.
func current(share *os.Root) (uint64, error) {
	target, err := share.Readlink(layout.Data)
	if err != nil {
		return 0, err
	}
	n, ok := layout.ParseGeneration(target)
	if !ok {
		return 0, fmt.Errorf("%s leads to no generation", layout.Data)
	}
	return n, nil
}
