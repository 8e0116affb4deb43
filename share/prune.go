package share

import (
	"bytes"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/share/layout"
)

const (
	// maxOverlapping superseded generations are kept beyond the grace, so that
	// many publishes in a row leave no more than that.
	maxOverlapping = 32
	// pruneRetry is when what could not be removed is tried again.
	pruneRetry = time.Minute
)

// prune is step 14. Of each superseded generation
//
//   - what was withdrawn goes after the grace: files that the current generation
//     has no more, or has with another content, and that no renewal rewrites;
//   - all goes after the overlap, or after the grace if there are too many.
//
// It returns when the next of these is due, zero if nothing is superseded. The
// decision is made from what lies on disk alone, so a kill loses nothing of it.
//
// A generation that is no longer complete loses its announcement first: Read and
// repair rely on that.
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

// pruning is one prune.
type pruning struct {
	*txn
	view     *view
	now, set time.Time // set is when the clock was last set, zero if it was not
	overlap  time.Duration
	oldest   bool              // no older generation is kept
	current  map[string][]byte // the current generation, once it was needed
}

// generation prunes one, and returns when it is to be looked at again; zero if
// it is gone.
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
		return grace // nothing is read before it has to be
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

// remove takes all of generation n away.
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

// withdraw takes some files of generation n away. Readers can use the others
// meanwhile, so the directory is never closed to them.
func (p *pruning) withdraw(n uint64, names []string) (done bool) {
	err := p.retire(n)
	if err == nil {
		err = p.auth.removeFiles(layout.Generation(n), names, p.dirOwner())
	}
	p.warn(err)
	return err == nil
}

// retire marks generation n as not complete any more, before it is touched. The
// mark keeps the announcement's time, if there is one before n: that is when it
// was superseded.
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

// withdrawn are the files of generation n that are to go after the grace; left
// counts the others.
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
	list, err := gen.list()
	for _, name := range list {
		data, _, e := gen.read(name)
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

// stays says whether a file of an old generation is not withdrawn.
func (p *pruning) stays(name string, data []byte) bool {
	now, there := p.current[name]
	return there && bytes.Equal(now, data) || p.opts.Renewed != nil && p.opts.Renewed(name, data)
}

// isForeign says of an error of read that what stands there is no regular file.
func isForeign(err error) bool {
	return isErrno(err, unix.EINVAL) || isErrno(err, unix.ELOOP) || isErrno(err, unix.ENXIO)
}

// superseded is when generation n was superseded: when the one that followed it
// was announced. Where that can't be known, because the time lies ahead of
// now or the clock was set since, it counts anew from now: that is never too
// early, and at most once too late.
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

// markAfter is the name of the first announcement of a number above n, or of
// what became of it.
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

// dropMarks removes the marks that no generation needs: those below the oldest,
// of skipped numbers too.
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
