//go:build e2e

package krun_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openshell-vm/drivers/driverstest/testhost"
	"openshell-vm/drivers/vm/hypervisor/qemu"
	"openshell-vm/drivers/vm/initramfs"
	"openshell-vm/drivers/vm/jail"
	"openshell-vm/drivers/vm/jail/jailtest"
)

// outerMemory is the outer machine's memory. Its VMs and tmpfs are in it.
const outerMemory = "3G"

// runOutside boots the outer machine and runs this test binary in it, with env
// added and args for its tests. It returns the exit code.
func runOutside(t *testing.T, args, env []string) int {
	t.Helper()
	dir, err := os.MkdirTemp("", "outer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	expectSeen(t, append([]string{dir, jailtest.Self(t)}, paths(env)...))
	kernel, err := initramfs.FindKernel(initramfs.Search{})
	if err != nil {
		testhost.Missing(t, "no kernel for the outer machine: %v", err)
	}
	archive := outerInitramfs(t, dir, kernel)
	command := writeCommand(t, dir, args, env)
	for range 3 {
		if code, hung := boot(t, dir, kernel.Image, archive, command); !hung {
			return code
		}
		t.Log("the outer machine hung")
	}
	t.Error("the outer machine hung each time")
	return -1
}

// covers are the directories of this machine's root over which the outer machine mounts its own.
var covers = []string{"/dev", "/proc", "/run", "/sys", "/var/tmp"}

// expectSeen checks that the outer machine will see these files of this machine.
func expectSeen(t *testing.T, files []string) {
	t.Helper()
	for _, file := range files {
		real, err := filepath.EvalSymlinks(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range covers {
			if strings.HasPrefix(real, dir+"/") {
				t.Fatalf("%s can't be seen in the outer machine, which has a %s of its own: set TMPDIR to another directory, such as /tmp, or move the file", real, dir)
			}
		}
	}
}

// paths returns the paths in the values of variables.
func paths(env []string) (all []string) {
	for _, e := range env {
		if _, value, _ := strings.Cut(e, "="); filepath.IsAbs(value) {
			all = append(all, value)
		}
	}
	return all
}

// boot is one life of the outer machine.
func boot(t *testing.T, dir, kernel, archive, command string) (code int, hung bool) {
	t.Helper()
	socket, stop := serveRoot(t, dir)
	defer stop()
	cmd := exec.Command("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max,+svm,+npt", "-smp", "1", "-m", outerMemory,
		"-object", "memory-backend-memfd,id=mem,share=on,size="+outerMemory, "-numa", "node,memdev=mem",
		"-chardev", "socket,id=root,path="+socket, "-device", "vhost-user-fs-pci,chardev=root,tag=root",
		"-kernel", kernel, "-initrd", archive,
		"-append", "console=ttyS0 quiet panic=-1 OUTER="+command, "-serial", "stdio")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	return follow(t, out, begin)
}

// silence is longer than a living outer machine is silent: its init prints something more often.
const silence = 3 * time.Minute

// follow logs the outer machine's output until that says that it is done. hung means that the
// output stopped: emulated machines hang now and then.
func follow(t *testing.T, out io.Reader, begin time.Time) (code int, hung bool) {
	t.Helper()
	lines := make(chan string)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- strings.TrimRight(s.Text(), "\r")
		}
	}()
	for first := true; ; first = false {
		select {
		case line, ok := <-lines:
			if !ok {
				t.Error("the outer machine ended without a word")
				return -1, false
			}
			if first {
				t.Logf("the outer machine speaks after %.1f s", time.Since(begin).Seconds())
			}
			if strings.Contains(line, "OUTER ALIVE") {
				continue
			}
			fmt.Println("| " + line)
			if n, _ := fmt.Sscanf(line, "OUTER EXIT %d", &code); n == 1 {
				return code, false
			}
		case <-time.After(silence):
			return -1, true
		}
	}
}

func outerInitramfs(t *testing.T, dir string, kernel initramfs.Kernel) string {
	t.Helper()
	init := filepath.Join(dir, "init")
	build := exec.Command("go", "build", "-o", init, "openshell-vm/e2e/krun/outer")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the outer machine's init: %v\n%s", err, out)
	}
	path := filepath.Join(dir, "initramfs")
	f, err := os.Create(path)
	if err == nil {
		err = initramfs.Write(f, kernel, init)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// writeCommand writes what the outer machine has to run.
func writeCommand(t *testing.T, dir string, args, env []string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(map[string][]string{
		"Args": append([]string{self}, args...),
		"Env": append([]string{
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"HOME=/var/tmp", "TMPDIR=/var/tmp", "LC_ALL=C",
		}, env...),
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "command.json")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// serveRoot serves this machine's root, read-only, on a socket. It ends when the machine that has
// connected ends.
func serveRoot(t *testing.T, dir string) (socket string, stop func()) {
	t.Helper()
	path := findVirtiofsd(t)
	flavor, _, err := qemu.DetectVirtiofsd(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	files, err := jail.Program(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	cfg := jail.Config{
		Name: "outer-root", Profile: jail.FileServer, Path: path, Proc: true, Env: []string{"LC_ALL=C"},
		Binds: append(files, jail.Bind{Source: "/", Target: "/shared"}),
	}
	if flavor == qemu.VirtiofsdC {
		cfg.Profile = jail.ChrootServer
	}
	if os.Geteuid() == 0 {
		cfg.Caps = []string{"CAP_DAC_READ_SEARCH"}
	}
	cfg.Args = qemu.VirtiofsdArgs(flavor, qemu.Root, "/shared", 3, cfg.Caps)
	socket = filepath.Join(dir, "root.sock")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	defer listener.Close()
	listening, err := listener.File()
	if err != nil {
		t.Fatal(err)
	}
	defer listening.Close()
	cmd, err := jail.Command(program(t, "openshell-vmm"), cfg, listening)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.Report(); err != nil {
		t.Fatal(err)
	}
	return socket, func() {
		cmd.Process.Kill()
		cmd.Wait()
		os.Remove(socket)
	}
}

func findVirtiofsd(t *testing.T) string {
	t.Helper()
	for _, path := range []string{"/usr/libexec/virtiofsd", "/usr/lib/virtiofsd", "/usr/lib/qemu/virtiofsd", "/usr/libexec/qemu/virtiofsd"} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	testhost.Missing(t, "no virtiofsd for the outer machine")
	return ""
}

// program returns the path of one of the built programs.
func program(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(programDir(t), name)
	if _, err := os.Stat(path); err != nil {
		testhost.Missing(t, "%v: run make build", err)
	}
	return path
}

func programDir(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("OPENSHELL_BIN"); dir != "" {
		return dir
	}
	dir, err := filepath.Abs("../../bin")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
