package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

const plain = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// mountEarly mounts the file systems that the init itself needs. It keeps one that is
// mounted already, as another init may have done.
func mountEarly() error {
	for _, m := range []struct {
		fstype, target string
		flags          uintptr
		data           string
	}{
		{"proc", "/proc", plain, ""},
		{"sysfs", "/sys", plain, ""},
		{"devtmpfs", "/dev", unix.MS_NOSUID | unix.MS_NOEXEC, ""},
		{"tmpfs", runDir, unix.MS_NOSUID | unix.MS_NODEV, "mode=0700"},
	} {
		err := unix.Mount(m.fstype, m.target, m.fstype, m.flags, m.data)
		if err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s on %s: %w", m.fstype, m.target, err)
		}
	}
	// Another init may have made its mounts shared, and a shared mount can't be moved.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the init's mounts private: %w", err)
	}
	return nil
}

// loadModules loads the kernel modules in dir, in the order of their names, and removes
// each file to free its memory. A module that fails to load is only logged: where the
// module is needed, the error gives a better reason.
func loadModules(dir string) {
	files, err := filepath.Glob(filepath.Join(dir, "*.ko"))
	if err != nil {
		logf("%v", err)
	}
	for _, file := range files {
		if err := loadModule(file); err != nil {
			logf("load %s: %v", filepath.Base(file), err)
		}
		os.Remove(file)
	}
}

func loadModule(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

// ignoreSignals keeps the init alive when a process in the guest signals it. The
// returned channel tells when children have ended. The signals are caught and dropped:
// an ignored signal would stay ignored in the workload.
func ignoreSignals() <-chan os.Signal {
	sigchld := make(chan os.Signal, 1)
	signal.Notify(sigchld, unix.SIGCHLD)
	discard := make(chan os.Signal, 1)
	signal.Notify(discard, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGABRT,
		unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGPWR, unix.SIGTRAP, unix.SIGSYS)
	go func() {
		for range discard {
		}
	}()
	return sigchld
}

// setLimits lets the sandbox's processes open as many files as on other systems. The
// kernel's own hard limit is 4,096.
func setLimits() {
	limit := syscall.Rlimit{Cur: 1024, Max: 512 << 10}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		logf("raise the limit on open files: %v", err)
	}
}
