package jail

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// setLimits raises what the program needs and takes away its core dumps, in
// which the token would be.
func setLimits(cfg Config, r *Report) error {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("read the limit on descriptors: %w", err)
	}
	if cfg.NoFile > 0 && cfg.NoFile < files.Max {
		files.Max = cfg.NoFile
	}
	files.Cur = files.Max
	// Through package syscall, or its Exec would put the old limit back.
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("limit descriptors to %d: %w", files.Max, err)
	}
	r.NoFile = files.Cur
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	return limitTasks(cfg, r)
}

// limitTasks is for an ordinary user; the kernel does not hold root to it, for
// whom there is only the cgroup.
func limitTasks(cfg Config, r *Report) error {
	if cfg.Tasks == 0 {
		return nil
	}
	limit := &unix.Rlimit{Cur: cfg.Tasks, Max: cfg.Tasks}
	if err := unix.Setrlimit(unix.RLIMIT_NPROC, limit); err != nil {
		return fmt.Errorf("limit processes to %d: %w", cfg.Tasks, err)
	}
	return nil
}

// emptyCoreDumps leaves no memory in a dump that the kernel pipes to a handler,
// for which the limit on its size does not count. It needs the host's /proc.
func emptyCoreDumps() error {
	return os.WriteFile("/proc/self/coredump_filter", []byte("0"), 0)
}
