package monitor

import (
	"fmt"
	"syscall"
	"time"

	"github.com/docker/go-units"
	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/monitor/api"
)

// The guests' disks mostly lie on the gateway's file system. A guest that fills it
// would keep all tokens there from being renewed. So a monitor freezes its VM before
// that:
//
//  1. Look at what is free every roomEvery. Look every roomOften when less than
//     roomMuch is free.
//  2. If less than the reserve is free, or would be by the next look, freeze a VM whose
//     disk has lately grown by more than roomHeavy. If less than half of the reserve is
//     free, freeze a VM whose disk has lately grown at all.
//  3. Let it go on when one and a half reserves are free.
//
// A signal stops a thread after its system call, so a write that is under way still
// goes to the disk. A Linux guest has at most roomFlight under way, since its queue
// bounds it; on a file system of over 96 MiB the reserve is larger than that. A guest
// may send larger requests by a driver of its own. It is killed if it has written more
// than roomFlight since it was frozen, and less than half of the reserve is free:
// SIGKILL ends a write in the middle.
//
// A frozen VM loses nothing. A frozen VM that is asked to stop goes on until it has
// ended. It is killed if it would have to be frozen again and less than half of the
// reserve is free.
const (
	roomMost   = 256 << 20 // bytes: the reserve of a large file system
	roomPart   = 16        // the reserve of a smaller one: this part of it,
	roomLeast  = 64 << 20  // but at least so many bytes,
	roomLarge  = 4         // or this part of a very small one
	roomFlight = 24 << 20  // bytes: qemu.QueueSize requests of 1 MiB, and some more
	roomMuch   = 2 << 30   // bytes
	roomEvery  = time.Second
	roomOften  = 20 * time.Millisecond
	roomLate   = 10 * time.Second // lately: within this, or up to twice as long ago
	roomHeavy  = 4 << 20          // bytes
)

// space is what a file system has, in bytes.
type space struct{ free, all int64 }

func (s space) reserve() int64 {
	return min(roomMost, max(s.all/roomPart, min(roomLeast, s.all/roomLarge)))
}

// room keeps a guest from filling the file system. Only watch uses it.
type room struct {
	due    *time.Timer           // when to look
	look   func() (space, error) // of the disk's file system
	used   func() int64          // bytes that the disk takes up
	growth growth
	last   int64 // used at the last look
	frozen bool
	since  time.Time // frozen
	begin  int64     // used when it was frozen
}

func newRoom(image string) *room {
	r := &room{due: time.NewTimer(roomEvery)}
	if image == "" { // an ephemeral guest writes to its memory only
		r.due.Stop()
	}
	r.look = func() (space, error) {
		var st unix.Statfs_t
		err := unix.Statfs(image, &st)
		return space{int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize}, err
	}
	r.used = func() int64 {
		var st unix.Stat_t
		if unix.Stat(image, &st) != nil {
			return 0
		}
		return st.Blocks * 512
	}
	return r
}

// verdict is what to do with a VM.
type verdict int

const (
	goOn verdict = iota
	freeze
	thaw
	kill
)

// tick looks at the file system and judges.
func (r *room) tick(now time.Time) (verdict, space) {
	s, err := r.look()
	if err != nil || s.all <= 0 { // without a size nobody knows whether it is full
		r.due.Reset(roomEvery)
		return goOn, s
	}
	used := r.used()
	grown, step := r.growth.add(now, used), max(0, used-r.last)
	r.last = used
	every := roomEvery
	if s.free < roomMuch && (!r.frozen || now.Sub(r.since) < roomLate) {
		every = roomOften
	}
	r.due.Reset(every)
	switch reserve := s.reserve(); {
	case r.frozen && s.free > reserve+reserve/2:
		return thaw, s
	case r.frozen && s.free < reserve/2 && used-r.begin > roomFlight:
		return kill, s
	case r.frozen:
		return goOn, s
	case s.free-step < reserve && grown > roomHeavy, s.free < reserve/2 && grown > 0:
		r.frozen, r.since, r.begin = true, now, used
		r.due.Reset(roomOften) // perhaps the disk does not get that full
		return freeze, s
	}
	return goOn, s
}

// growth tells by how much a disk has grown lately.
type growth struct {
	since        time.Time
	begin        int64 // at since
	before, last int64 // grown in the time before since, and after it
}

func (g *growth) add(now time.Time, used int64) int64 {
	if g.since.IsZero() {
		g.since, g.begin = now, used
	}
	g.last = max(g.last, used-g.begin)
	if now.Sub(g.since) >= roomLate {
		g.since, g.begin, g.before, g.last = now, used, g.last, 0
	}
	return g.before + g.last
}

// keep does what the verdict asks for. It returns the reason if the VM has to be killed;
// else "".
func (r *room) keep(m *monitor, stopping bool) (reason string) {
	what, s := r.tick(time.Now())
	switch {
	case what == freeze && stopping && s.free >= s.reserve()/2:
		r.frozen = false // not yet: the next look judges again
	case what == freeze && stopping:
		return "it was killed: it filled the host's disk before it had stopped"
	case what == kill:
		return "it was killed: it went on to fill the host's disk when it was frozen for that"
	case what == freeze:
		m.group.Signal(syscall.SIGSTOP)
		why := fmt.Sprintf("frozen: %s are free where its disk lies, and it was writing; it goes on when more than %s are",
			units.BytesSize(float64(s.free)), units.BytesSize(float64(s.reserve()*3/2)))
		m.log.Warn("the VM is frozen, so that there is room for renewals", "free", s.free)
		m.update(func(r *api.Report) { r.Reason = why })
	case what == thaw:
		r.thaw(m)
	}
	return ""
}

// thaw lets a frozen VM go on.
func (r *room) thaw(m *monitor) {
	if !r.frozen {
		return
	}
	r.frozen, r.growth = false, growth{}
	m.group.Signal(syscall.SIGCONT)
	m.log.Info("the VM goes on")
	m.update(func(r *api.Report) { r.Reason = "" })
}
