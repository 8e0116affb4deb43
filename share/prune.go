package share

import (
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
		old := v.generations[0]
		next, ok := following(v.announced, old)
		if !ok {
			return nil
		}
		past, err := t.pastGrace(AnnouncementName(next), now, set)
		if err != nil || !past {
			return err
		}
		for len(v.announced) > 0 && v.announced[0] <= old {
			if err := t.auth.removeAll(AnnouncementName(v.announced[0])); err != nil {
				return err
			}
			v.announced = v.announced[1:]
		}
		if err := t.auth.removeAll(GenerationName(old)); err != nil {
			return err
		}
		v.generations = v.generations[1:]
	}
	return nil
}

// pastGrace says whether what the announcement superseded has been old for the
// grace. set is when the clock was last set, zero if it was not.
func (t *txn) pastGrace(announcement string, now, set time.Time) (bool, error) {
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

// following is the smallest of numbers, which ascend, that is above n.
func following(numbers []uint64, n uint64) (uint64, bool) {
	for _, m := range numbers {
		if m > n {
			return m, true
		}
	}
	return 0, false
}
