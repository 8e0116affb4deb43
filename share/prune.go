package share

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// prune is step 14. A generation's age counts from the announcement of the one
// that followed. Where that age can't be known, because the time lies ahead of
// now or the clock was set since, it counts anew from now: that is never too
// early, and at most one more grace too late.
//
// A generation's announcement goes before the generation: one that is
// announced is complete, and Read relies on it.
func (t *txn) prune(v *view, now time.Time) error {
	set := steps.observe()
	for len(v.generations) > 0 && v.generations[0] < v.current {
		past, err := t.pastGrace(v, now, set)
		if err != nil {
			return err
		}
		if !past {
			break
		}
		if err := t.dropAnnouncements(v, v.generations[0]+1); err != nil {
			return err
		}
		if err := t.auth.removeAll(GenerationName(v.generations[0])); err != nil {
			return err
		}
		v.generations = v.generations[1:]
	}
	if len(v.generations) == 0 {
		return nil
	}
	return t.dropAnnouncements(v, v.generations[0]) // of skipped numbers
}

// dropAnnouncements removes those below a number.
func (t *txn) dropAnnouncements(v *view, below uint64) error {
	for len(v.announced) > 0 && v.announced[0] < below {
		if err := t.auth.removeAll(AnnouncementName(v.announced[0])); err != nil {
			return err
		}
		v.announced = v.announced[1:]
	}
	return nil
}

// pastGrace says whether the oldest generation was superseded at least the
// grace ago. set is when the clock was last set, zero if it was not.
func (t *txn) pastGrace(v *view, now, set time.Time) (bool, error) {
	i := slices.IndexFunc(v.announced, func(n uint64) bool { return n > v.generations[0] })
	if i < 0 {
		return false, nil
	}
	announcement := AnnouncementName(v.announced[i])
	st, err := t.auth.lstat(announcement)
	if err != nil {
		return false, err
	}
	since := time.Unix(st.Mtim.Unix())
	if since.After(now) || since.Before(set) {
		return false, t.auth.touch(announcement, now)
	}
	return now.Sub(since) >= t.opts.Grace, nil
}

// touch sets the modification time.
func (d dir) touch(name string, at time.Time) error {
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(at.UnixNano())}
	return d.do("set time of", name, func() error {
		return unix.UtimesNanoAt(d.fd, name, times, unix.AT_SYMLINK_NOFOLLOW)
	})
}
