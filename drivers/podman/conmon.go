package podman

import (
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/procfs"
)

// stuckTime is for how long a conmon has to be seen asleep over a command that has
// ended. One that is well reaps it within milliseconds.
const stuckTime = time.Second

// stuck finds the conmon of a command in a terminal that sleeps for ever: what was
// typed and never read fills the terminal, conmon waits for room in it, and the end
// of who should have read does not wake it (seen with conmon 2.1 on Linux 6.18). The
// command stays a zombie, its exec stays running, and Podman can't remove the
// container. It is safe for concurrent use; the zero value is ready.
type stuck struct {
	mu    sync.Mutex
	since map[int]time.Time // command → when its conmon was first seen asleep
}

// look ends a conmon that has been asleep for stuckTime over the command pid. With
// it goes the command's exit code, which nobody could get any more.
func (s *stuck) look(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	conmon := asleepOver(pid)
	first, known := s.since[pid]
	switch {
	case conmon == 0:
		delete(s.since, pid)
	case !known:
		if s.since == nil {
			s.since = map[int]time.Time{}
		}
		s.since[pid] = time.Now()
	case time.Since(first) >= stuckTime:
		kill(conmon, func() bool { return asleepOver(pid) == conmon })
		delete(s.since, pid)
	}
}

// kill ends a process that is still what it should be after it can't be taken for
// another any more.
func kill(pid int, still func() bool) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if still() {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	}
}

// asleepOver is the conmon of an exec that waits for room in a terminal while its
// command pid is a zombie; 0 if there is none, or it may not be seen.
func asleepOver(pid int) int {
	parent := parentOfZombie(pid)
	if parent == 0 {
		return 0
	}
	// A terminal's writer waits there, and next to nobody else.
	if procfs.Word(parent, "comm") != "conmon" || !strings.Contains(procfs.Word(parent, "wchan"), "wait_woken") {
		return 0
	}
	if args, _ := procfs.Args(parent); !slices.Contains(args, "--exec") {
		return 0
	}
	return parent
}

// parentOfZombie is the parent of a process that has ended and was not reaped; 0 of
// any other.
func parentOfZombie(pid int) int {
	if pid <= 0 {
		return 0
	}
	stat, err := procfs.ReadStat(pid)
	if err != nil || stat.State != "Z" {
		return 0
	}
	return stat.Parent
}
