package monitor

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/docker/go-units"
	"golang.org/x/sys/unix"
)

// The file system with the guests' disks is mostly the gateway's, too: a guest
// that fills it would keep the tokens of all others from being renewed. So who
// writes is stopped, not who renews.
//
//  1. look at what is free, and often once that is little
//  2. below the reserve, freeze a VM whose disk has grown a lot of late; below
//     half of it, one whose disk has grown at all
//  3. let it go on when the reserve and half as much again is free
//
// A frozen VM loses nothing. One that is to stop goes on until it has ended,
// and is killed if it would have to be frozen again.
const (
	roomMost  = 256 << 20 // the reserve in bytes: this, or a small file system's part
	roomPart  = 16
	roomMuch  = 2 << 30 // free: then there is time
	roomEvery = time.Second
	roomOften = 50 * time.Millisecond
	roomLate  = 10 * time.Second // of late: between this and twice as long ago
	roomHeavy = 4 << 20          // bytes: a lot
)

// space is what a file system has, in bytes.
type space struct{ free, all int64 }

func (s space) reserve() int64 { return min(roomMost, s.all/roomPart) }

// room keeps a guest from filling the file system. It is the watch's alone.
type room struct {
	due    *time.Timer           // when to look
	look   func() (space, error) // of the disk's file system
	used   func() int64          // bytes that the disk takes up
	growth growth
	frozen bool
}

func newRoom(image string) *room {
	r := &room{due: time.NewTimer(roomEvery)}
	if image == "" { // what an ephemeral guest writes is in its memory
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

// verdict is what is to be done with a VM.
type verdict int

const (
	goOn verdict = iota
	freeze
	thaw
)

// tick looks at the file system and judges.
func (r *room) tick(now time.Time) (verdict, space) {
	s, err := r.look()
	if err != nil {
		r.due.Reset(roomEvery)
		return goOn, s
	}
	grown := r.growth.add(now, r.used())
	every := roomEvery
	if s.free < roomMuch && !r.frozen {
		every = roomOften
	}
	r.due.Reset(every)
	switch reserve := s.reserve(); {
	case r.frozen && s.free > reserve+reserve/2:
		return thaw, s
	case r.frozen:
		return goOn, s
	case s.free < reserve && grown > roomHeavy, s.free < reserve/2 && grown > 0:
		return freeze, s
	}
	return goOn, s
}

// growth is by how much a disk has grown of late.
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

// keepRoom does what the room's state asks for, and says whether the VM is to
// be killed for it.
func (m *monitor) keepRoom(r *room, stopping bool) (kill bool) {
	what, s := r.tick(time.Now())
	switch {
	case what == freeze && stopping:
		return true
	case what == freeze:
		r.frozen = true
		m.group.signal(syscall.SIGSTOP)
		why := fmt.Sprintf("frozen: %s are free where its disk lies, and it was writing; it goes on when more than %s are",
			units.BytesSize(float64(s.free)), units.BytesSize(float64(s.reserve()*3/2)))
		m.log.Warn("the VM is frozen, so that there is room for renewals", "free", s.free)
		m.update(func(r *Report) { r.Reason = why })
	case what == thaw:
		m.thaw(r)
	}
	return false
}

// thaw lets a frozen VM go on.
func (m *monitor) thaw(r *room) {
	if !r.frozen {
		return
	}
	r.frozen, r.growth = false, growth{}
	m.group.signal(syscall.SIGCONT)
	m.log.Info("the VM goes on")
	m.update(func(r *Report) { r.Reason = "" })
}

// signal signals the hypervisor.
func (g *group) signal(s os.Signal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, cmd := range g.members {
		if !(death{name: name}).ofFileServer() {
			cmd.Process.Signal(s)
		}
	}
}
