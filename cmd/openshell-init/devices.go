package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mountKernelFS mounts the kernel's own file systems in the sandbox.
func mountKernelFS() error {
	for _, m := range []struct {
		fstype, target string
		flags          uintptr
		data           string
		optional       bool
	}{
		{"proc", "/proc", plain, "", false},
		{"sysfs", "/sys", plain, "", false},
		{"cgroup2", "/sys/fs/cgroup", plain, "", true},
		{"tmpfs", "/dev", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=0755,size=64k", false},
		{"devpts", "/dev/pts", unix.MS_NOSUID | unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5", false},
		{"tmpfs", "/dev/shm", plain, "mode=1777", false},
		{"mqueue", "/dev/mqueue", plain, "", true},
	} {
		err := os.MkdirAll(m.target, 0o755)
		if err == nil {
			err = unix.Mount(m.fstype, m.target, m.fstype, m.flags, m.data)
		}
		if err != nil && !m.optional {
			return fmt.Errorf("mount %s at %s: %w", m.fstype, m.target, err)
		}
	}
	return nil
}

// makeDevices fills the sandbox's /dev with the devices that containers have. It leaves
// out disks, the console and the init's ports.
func makeDevices() error {
	for _, n := range []struct {
		name         string
		major, minor uint32
	}{
		{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0},
	} {
		name := "/dev/" + n.name
		if err := unix.Mknod(name, unix.S_IFCHR|0o666, int(unix.Mkdev(n.major, n.minor))); err != nil {
			return fmt.Errorf("make the device %s: %w", name, err)
		}
		if err := unix.Chmod(name, 0o666); err != nil { // whatever the umask
			return fmt.Errorf("make the device %s: %w", name, err)
		}
	}
	var errs []error
	for name, target := range map[string]string{
		"/dev/ptmx": "pts/ptmx", "/dev/fd": "/proc/self/fd",
		"/dev/stdin": "/proc/self/fd/0", "/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2",
	} {
		errs = append(errs, os.Symlink(target, name))
	}
	return errors.Join(errs...)
}
