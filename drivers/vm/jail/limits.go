package jail

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// setLimits raises the limit on descriptors, limits tasks, and forbids core dumps: the
// token would be in them.
func setLimits(cfg Config, root bool, r *Report) error {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("read the limit on descriptors: %w", err)
	}
	if cfg.NoFile > 0 && cfg.NoFile < files.Max {
		files.Max = cfg.NoFile
	}
	files.Cur = files.Max
	// Not through package unix: syscall.Exec would put the old limit back then.
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("limit descriptors to %d: %w", files.Max, err)
	}
	r.NoFile = files.Cur
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	return limitTasks(cfg.Tasks, root, r)
}

// limitTasks sets the limit that holds for an ordinary user. The kernel does not apply
// it to root: for root there is only the cgroup.
func limitTasks(tasks uint64, root bool, r *Report) error {
	if tasks == 0 {
		return nil
	}
	if err := unix.Setrlimit(unix.RLIMIT_NPROC, &unix.Rlimit{Cur: tasks, Max: tasks}); err != nil {
		return fmt.Errorf("limit tasks to %d: %w", tasks, err)
	}
	switch {
	case !root:
		r.Tasks = tasks
	case r.Tasks == 0:
		r.miss("limit on tasks", errors.New("root needs a cgroup that counts them"))
	}
	return nil
}

// emptyCoreDumps keeps memory out of core dumps. The limit on their size does not apply
// to a dump that the kernel pipes to a handler. It needs the host's /proc.
func emptyCoreDumps() error {
	return os.WriteFile("/proc/self/coredump_filter", []byte("0"), 0)
}
