package podman

import (
	"slices"
	"strings"
	"sync"
	"time"

	"openshell-vm/internal/procfs"
)

// stuckTime is how long a conmon must be seen asleep after its command has ended. A
// healthy one reaps the command within milliseconds.
const stuckTime = time.Second

// stuck finds a conmon that sleeps for ever. What was typed and never read fills the
// command's terminal. Conmon waits for room in it, and the command's end does not wake
// it (seen with conmon 2.1 on Linux 6.18). The command stays a zombie, its exec stays
// running, and Podman can't remove the container. stuck is safe for concurrent use; the
// zero value is ready.
type stuck struct {
	mu    sync.Mutex
	since map[int]time.Time // command → when its conmon was first seen asleep
}

// look ends a conmon that has slept for stuckTime since its command, pid, has ended. The
// command's exit code is lost with it. Nobody could get that any more.
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
		procfs.Kill(conmon, func() bool { return asleepOver(pid) == conmon })
		delete(s.since, pid)
	}
}

// asleepOver is the conmon that waits for room in a terminal while its command, pid, is
// a zombie. It is 0 if there is none, or none that may be seen.
func asleepOver(pid int) int {
	parent := parentOfZombie(pid)
	if parent == 0 {
		return 0
	}
	// Who writes to a terminal waits there, and hardly anybody else does.
	if procfs.Word(parent, "comm") != "conmon" || !strings.Contains(procfs.Word(parent, "wchan"), "wait_woken") {
		return 0
	}
	if args, _ := procfs.Args(parent); !slices.Contains(args, "--exec") {
		return 0
	}
	return parent
}

// parentOfZombie is the parent of a process that has ended and was not reaped. It is 0
// for any other process.
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
