package share

import (
	"bytes"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/share/layout"
)

const (
	// maxOverlapping is how many superseded generations are kept beyond the grace at
	// most, however many publishes come in a row.
	maxOverlapping = 32
	// pruneRetry is how long to wait before a failed removal is tried again.
	pruneRetry = time.Minute
)

// prune is step 14. From each superseded generation it removes
//
//   - after the grace, the withdrawn files. A file is withdrawn if the current
//     generation lacks it or has another content, and it was not merely renewed;
//   - after the overlap, all files. All but the newest maxOverlapping superseded
//     generations lose all files after the grace already.
//
// It returns when the next removal is due; zero if nothing is superseded. It decides
// only by what lies on disk, so a killed process loses nothing.
//
// Before it takes a file from a generation, it takes the generation's announcement: Read
// and repair rely on that.
func (t *txn) prune(v *view, now time.Time, overlap time.Duration) (next time.Time) {
	old, _ := slices.BinarySearch(v.generations, v.current)
	p := pruning{txn: t, view: v, now: now, set: steps.observe()}
	var kept []uint64
	for i, n := range v.generations[:old] {
		p.overlap = t.opts.Grace
		if old-i <= maxOverlapping {
			p.overlap = max(overlap, t.opts.Grace)
		}
		p.oldest = len(kept) == 0
		due := p.generation(n)
		if due.IsZero() {
			continue
		}
		kept = append(kept, n)
		if next.IsZero() || due.Before(next) {
			next = due
		}
	}
	v.generations = append(kept, v.generations[old:]...)
	p.dropMarks()
	return next
}

// pruning is the state of one call of prune.
type pruning struct {
	*txn
	view     *view
	now, set time.Time // set is when the clock was last set; zero if it was not
	overlap  time.Duration
	oldest   bool              // no older generation is kept
	current  map[string][]byte // the current generation; nil until it is needed
}

// generation prunes generation n. It returns when to look at it again; zero if it is
// gone.
func (p *pruning) generation(n uint64) time.Time {
	since, known := p.superseded(n)
	if !known {
		return p.now.Add(pruneRetry)
	}
	grace, all := since.Add(p.opts.Grace), since.Add(p.overlap)
	switch {
	case !p.now.Before(all):
		return p.remove(n)
	case p.now.Before(grace):
		return grace // read no file before that is necessary
	}
	withdrawn, left, err := p.withdrawn(n)
	switch {
	case err != nil:
		p.warn(err)
		return earlier(all, p.now.Add(pruneRetry))
	case len(withdrawn) == 0:
		return all
	case left == 0:
		return p.remove(n)
	}
	if !p.withdraw(n, withdrawn) {
		return earlier(all, p.now.Add(pruneRetry))
	}
	return all
}

// remove removes all of generation n.
func (p *pruning) remove(n uint64) (again time.Time) {
	err := p.retire(n)
	if err == nil {
		err = p.auth.removeAll(layout.Generation(n))
	}
	if err == nil {
		return time.Time{}
	}
	p.warn(err)
	return p.now.Add(pruneRetry)
}

// withdraw removes some files of generation n. Readers can use the others all the time.
func (p *pruning) withdraw(n uint64, names []string) (done bool) {
	err := p.retire(n)
	if err == nil {
		err = p.auth.removeFiles(layout.Generation(n), names, p.dirOwner())
	}
	p.warn(err)
	return err == nil
}

// retire marks generation n as no longer complete, before any file of it is removed. It
// renames the announcement, so that the mark keeps its time: an older generation was
// superseded then. Without an older generation it removes the announcement.
func (p *pruning) retire(n uint64) (err error) {
	if !contains(p.view.announced, n) {
		return nil
	}
	if p.oldest {
		err = p.auth.removeAll(layout.Announcement(n))
	} else {
		err = p.auth.rename(layout.Announcement(n), layout.Retired(n))
	}
	if err != nil {
		return err
	}
	p.view.announced = slices.DeleteFunc(p.view.announced, func(a uint64) bool { return a == n })
	if p.oldest {
		return nil
	}
	p.view.retired = append(p.view.retired, n)
	slices.Sort(p.view.retired)
	return nil
}

// withdrawn returns the withdrawn files of generation n; left counts the others.
func (p *pruning) withdrawn(n uint64) (names []string, left int, err error) {
	if p.current == nil {
		if p.current, err = p.auth.generation(p.view.current); err != nil {
			return nil, 0, err
		}
	}
	gen, err := p.auth.openDir(layout.Generation(n))
	if err != nil {
		return nil, 0, err
	}
	defer gen.close()
	list, _, err := gen.tree()
	for _, name := range list {
		data, _, e := gen.readIn(name)
		switch {
		case e == nil && p.stays(name, data):
			left++
		case e == nil || isForeign(e):
			names = append(names, name)
		default:
			return nil, 0, e
		}
	}
	return names, left, err
}

// stays reports whether a file of an old generation is not withdrawn.
func (p *pruning) stays(name string, data []byte) bool {
	now, there := p.current[name]
	return there && bytes.Equal(now, data) || p.opts.Renewed != nil && p.opts.Renewed(name, data)
}

// isForeign reports whether err, an error of read, means that the name is no regular
// file.
func isForeign(err error) bool {
	return isErrno(err, unix.EINVAL) || isErrno(err, unix.ELOOP) || isErrno(err, unix.ENXIO)
}

// superseded returns when generation n was superseded: when the next one was announced.
// If that time lies ahead of now, or the clock was set since, it can't be known. Then
// the time counts anew from now. That is never too early, and too late only once.
func (p *pruning) superseded(n uint64) (since time.Time, known bool) {
	mark := p.view.markAfter(n)
	if mark == "" {
		return since, false
	}
	st, err := p.auth.lstat(mark)
	if err != nil {
		p.warn(err)
		return since, false
	}
	since = time.Unix(st.Mtim.Unix())
	if since.After(p.now) || since.Before(p.set) {
		p.warn(p.auth.touch(mark, p.now))
		since = p.now
	}
	return since, true
}

// markAfter returns the name of the first mark, an announcement or a retired one, with a
// number above n; "" if there is none.
func (v *view) markAfter(n uint64) string {
	a, _ := slices.BinarySearch(v.announced, n+1)
	r, _ := slices.BinarySearch(v.retired, n+1)
	switch {
	case r < len(v.retired) && (a == len(v.announced) || v.retired[r] < v.announced[a]):
		return layout.Retired(v.retired[r])
	case a < len(v.announced):
		return layout.Announcement(v.announced[a])
	}
	return ""
}

// dropMarks removes the marks below the oldest generation, also those of skipped
// numbers. Nothing needs them.
func (p *pruning) dropMarks() {
	v := p.view
	if len(v.generations) == 0 {
		return
	}
	drop := func(list []uint64, name func(uint64) string) []uint64 {
		return slices.DeleteFunc(list, func(n uint64) bool {
			if n >= v.generations[0] {
				return false
			}
			err := p.auth.removeAll(name(n))
			p.warn(err)
			return err == nil
		})
	}
	v.announced, v.retired = drop(v.announced, layout.Announcement), drop(v.retired, layout.Retired)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// touch sets the modification time.
func (d dir) touch(name string, at time.Time) error {
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(at.UnixNano())}
	return d.do("set time of", name, func() error {
		return unix.UtimesNanoAt(d.fd, name, times, unix.AT_SYMLINK_NOFOLLOW)
	})
}
