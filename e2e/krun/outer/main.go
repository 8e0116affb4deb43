// Command outer is process 1 of package krun's outer machine. It takes the host's root as its own
// and runs the test binary again.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Command is what to run. The variable OUTER names the file with it on the host; the kernel takes
// that variable from its command line.
type Command struct {
	Args []string
	Env  []string
}

const host = "/host"

func main() {
	go func() {
		for range time.Tick(30 * time.Second) {
			fmt.Println("OUTER ALIVE")
		}
	}()
	code, err := run()
	if err != nil {
		fmt.Println("OUTER ERROR", err)
	}
	fmt.Println("OUTER EXIT", code)
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func run() (code int, err error) {
	if err := mount("", [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}}); err != nil {
		return 125, err
	}
	if err := errors.Join(loadModules(), raiseLoopback()); err != nil {
		return 125, err
	}
	if err := errors.Join(os.MkdirAll(host, 0o755), unix.Mount("root", host, "virtiofs", unix.MS_RDONLY, "")); err != nil {
		return 125, fmt.Errorf("mount the host's root: %w", err)
	}
	err = mount(host, [][2]string{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"devpts", "/dev/pts"}, {"tmpfs", "/dev/shm"},
		{"tmpfs", "/run"}, {"tmpfs", "/var/tmp"}, {"cgroup2", "/sys/fs/cgroup"},
	})
	if err != nil {
		return 125, err
	}
	if err := errors.Join(unix.Chdir(host), unix.Mount(".", "/", "", unix.MS_MOVE, ""), unix.Chroot(".")); err != nil {
		return 125, fmt.Errorf("switch the root: %w", err)
	}
	if out, err := exec.Command("/sbin/modprobe", "kvm_amd").CombinedOutput(); err != nil {
		return 125, fmt.Errorf("modprobe kvm_amd: %w: %s", err, out)
	}
	return runCommand(os.Getenv("OUTER"))
}

func mount(root string, mounts [][2]string) error {
	for _, m := range mounts {
		fstype, dir := m[0], root+m[1]
		if root == "" || m[1] == "/dev/pts" || m[1] == "/dev/shm" {
			os.MkdirAll(dir, 0o755)
		}
		if err := unix.Mount(fstype, dir, fstype, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	return nil
}

// loadModules loads the initramfs's modules, in the order of their names.
func loadModules() error {
	files, err := filepath.Glob("/modules/*.ko")
	slices.Sort(files)
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
			fmt.Println("OUTER load", name, err) // what is missing shows where it is needed
		}
		f.Close()
	}
	return err
}

func runCommand(file string) (int, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 125, err
	}
	var c Command
	if err := json.Unmarshal(data, &c); err != nil {
		return 125, err
	}
	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	cmd.Env, cmd.Dir = c.Env, "/"
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	if err := cmd.Start(); err != nil {
		return 125, err
	}
	for { // orphans, too: they are ours to reap
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		} else if err != nil {
			return 125, err
		}
		if pid == cmd.Process.Pid {
			return exitCode(status), nil
		}
	}
}

func exitCode(status unix.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// raiseLoopback brings lo up: tests serve images there.
func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}
