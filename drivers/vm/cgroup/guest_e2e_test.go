//go:build e2e && amd64

package cgroup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/driverstest/testhost"
	"openshell-vm/drivers/vm/initramfs"
)

// unified is where the guest's only hierarchy, of version 2, is mounted.
const unified = "/sys/fs/cgroup"

// The guest's tests, on its console.
const (
	guestArgs = "-test.v -test.run=^TestKernel"
	guestUser = 1000
	manager   = "/user.slice/user@1000.service"
	apps      = manager + "/app.slice"
)

func init() { guest = beInit }

// beInit is process 1 of a guest. It runs the tests of the kernel four times: as root in the
// root group, as root in a service's group, as a user in a delegated group, and as a user in
// a shell's group.
func beInit(*testing.M) {
	defer unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	if err := mountAll(); err != nil {
		fmt.Println("GUEST FAILED", err)
		return
	}
	for _, c := range []struct {
		name, group string
		uid         int
		place       string // of memory; "" for none
	}{
		{"root in the root, which hands nothing on", "", 0, unified}, // it comes first
		{"root in a service", "/system.slice/x.service", 0, unified + "/system.slice"},
		{"a user's unit", apps + "/x.service", guestUser, unified + apps},
		{"a user's shell", "/user.slice/session.scope", guestUser, ""},
	} {
		fmt.Println("GUEST CASE", c.name)
		if err := errors.Join(makeGroups(c.group), runIn(c.group, c.uid, c.place)); err != nil {
			fmt.Println("GUEST FAILED", err)
		}
	}
	fmt.Println("GUEST END")
	time.Sleep(time.Second) // for the console
}

// mountAll mounts the file systems that tests need.
func mountAll() error {
	var errs []error
	for _, m := range []struct{ kind, dir string }{{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}, {"cgroup2", unified}, {"tmpfs", "/tmp"}} {
		errs = append(errs, os.MkdirAll(m.dir, 0o755), unix.Mount(m.kind, m.dir, m.kind, 0, ""))
	}
	console, err := os.OpenFile("/dev/console", os.O_RDWR, 0)
	if err := errors.Join(append(errs, err, os.Chmod("/tmp", 0o777))...); err != nil {
		return err
	}
	os.Stdout, os.Stderr = console, console
	return nil
}

// makeGroups makes a group and those above it. These hand on the controllers that systemd lets
// them hand on. The group of a user's manager belongs to the user.
func makeGroups(group string) error {
	at := unified
	for _, name := range strings.Split(strings.TrimPrefix(group, "/"), "/") {
		if name == "" {
			return nil
		}
		if err := set(at, handsFile, "+memory +pids"); err != nil {
			return err
		}
		at = filepath.Join(at, name)
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
	}
	if !strings.Contains(group, manager) {
		return nil
	}
	return filepath.WalkDir(unified+manager, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Chown(path, guestUser, guestUser))
	})
}

// runIn runs the tests in a group as a user. Without a place the tests have to be skipped.
func runIn(group string, uid int, place string) error {
	if err := set(unified+group, procsFile, "0"); err != nil {
		return err
	}
	cmd := exec.Command("/proc/self/exe", strings.Fields(guestArgs)...)
	cmd.Env = []string{"TMPDIR=/tmp", "GUEST_PLACE=" + place}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	out, err := cmd.CombinedOutput()
	fmt.Print(string(out))
	return err
}

// TestKernelGivesTheGuestsPlace runs only in the guest, which knows what it has prepared.
func TestKernelGivesTheGuestsPlace(t *testing.T) {
	want, inGuest := os.LookupEnv("GUEST_PLACE")
	if !inGuest {
		t.Skip("this is no guest of TestVersion2")
	}
	p := Here()
	if p.Memory != want || p.Tasks != want {
		t.Errorf("%+v", p)
	}
	if (p.NoMemory == nil) != (want != "") {
		t.Errorf("the reason is %v", p.NoMemory)
	}
}

// TestVersion2 boots a guest whose kernel has only version 2, and runs the tests of the kernel
// there: this host may have version 1.
func TestVersion2(t *testing.T) {
	emulator, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		testhost.Missing(t, "%v", err)
	}
	kernel, err := initramfs.FindKernel(initramfs.Search{})
	if err != nil {
		testhost.Missing(t, "%v", err)
	}
	cmd := exec.Command(emulator, "-nodefaults", "-no-user-config", "-nographic", "-no-reboot",
		"-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "1024M", "-smp", "2",
		"-kernel", kernel.Image, "-initrd", buildInitramfs(t, kernel), "-serial", "stdio",
		"-append", "console=ttyS0 panic=-1 quiet cgroup_no_v1=all no_timer_check cryptomgr.notests")
	timer := time.AfterFunc(5*time.Minute, func() { cmd.Process.Kill() })
	defer timer.Stop()
	out, err := cmd.CombinedOutput()
	console := strings.ReplaceAll(string(out), "\r", "")
	t.Logf("%v\n%s", err, console)
	for _, c := range []struct {
		text  string
		times int
	}{
		{"GUEST END", 1}, {"GUEST CASE", 4}, {"GUEST FAILED", 0}, {"--- FAIL", 0}, {"panic", 0},
		{"--- PASS: TestKernelGivesTheGuestsPlace", 4}, {"--- PASS: TestKernelEndsTheEater", 3}, {"--- PASS: TestKernelCountsTasks", 3},
	} {
		if n := strings.Count(console, c.text); n != c.times {
			t.Errorf("the guest said %q %d times, not %s", c.text, n, strconv.Itoa(c.times))
		}
	}
}

// buildInitramfs makes an initramfs with this test's own binary as init. It builds that without
// cgo, since a binary with cgo needs libraries.
func buildInitramfs(t *testing.T, kernel initramfs.Kernel) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("go", "test", "-c", "-tags", "e2e", "-o", dir+"/init", ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the guest's init: %v\n%s", err, out)
	}
	f, err := os.Create(dir + "/initramfs")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := initramfs.Write(f, kernel, dir+"/init"); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}
