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
func (t *txn) prune(v *view, now time.Time) {
	set := steps.observe()
	v.generations = slices.DeleteFunc(v.generations, func(n uint64) bool {
		if n >= v.current || !t.pastGrace(v, n, now, set) || !t.dropAnnouncements(v, n, n+1) {
			return false
		}
		err := t.auth.removeAll(GenerationName(n))
		t.warn(err)
		return err == nil
	})
	if len(v.generations) > 0 {
		t.dropAnnouncements(v, 0, v.generations[0]) // of skipped numbers
	}
}

// dropAnnouncements removes those from one number up to below another, and says
// whether none of them is left.
func (t *txn) dropAnnouncements(v *view, from, below uint64) (dropped bool) {
	dropped = true
	v.announced = slices.DeleteFunc(v.announced, func(n uint64) bool {
		if n < from || n >= below {
			return false
		}
		err := t.auth.removeAll(AnnouncementName(n))
		t.warn(err)
		dropped = dropped && err == nil
		return err == nil
	})
	return dropped
}

// pastGrace says whether generation n was superseded at least the grace ago.
// set is when the clock was last set, zero if it was not.
func (t *txn) pastGrace(v *view, n uint64, now, set time.Time) bool {
	i := slices.IndexFunc(v.announced, func(a uint64) bool { return a > n })
	if i < 0 {
		return false
	}
	announcement := AnnouncementName(v.announced[i])
	st, err := t.auth.lstat(announcement)
	if err != nil {
		t.warn(err)
		return false
	}
	since := time.Unix(st.Mtim.Unix())
	if since.After(now) || since.Before(set) {
		t.warn(t.auth.touch(announcement, now))
		return false
	}
	return now.Sub(since) >= t.opts.Grace
}

// touch sets the modification time.
func (d dir) touch(name string, at time.Time) error {
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(at.UnixNano())}
	return d.do("set time of", name, func() error {
		return unix.UtimesNanoAt(d.fd, name, times, unix.AT_SYMLINK_NOFOLLOW)
	})
}
