//go:build e2e

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/driverstest/capture"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/hypervisor/qemu"
	"openshell-vm/drivers/vm/initramfs"
	"openshell-vm/internal/contract"
	"openshell-vm/internal/stream"
	"openshell-vm/internal/vocab"
)

// bootDeadline is generous: the processor is emulated, and other tests run.
const bootDeadline = 5 * time.Minute

// These tests boot real guests: the init as a whole can only be tested there.

// vm is one real guest under QEMU, with the test as its monitor.
type vm struct {
	t     *testing.T
	dir   string // holds shares/, rootfs/ and upper.ext4
	auth  string
	qemu  *exec.Cmd
	ended chan error // QEMU's end

	console        capture.Buffer // what the guest's kernel and init print
	control, stdio *stream.Conn
	workload       *stream.Session
	messages       chan guest.Message

	mu     sync.Mutex
	output map[uint32]map[stream.Kind]*bytes.Buffer
	frames chan stream.Frame // Exit and Error
	nudge  chan struct{}     // some output has come
}

// need returns the program's path. Without the program it skips the test, or fails it if
// this machine has to have everything.
func need(t *testing.T, program string, also ...string) string {
	t.Helper()
	for _, p := range append([]string{program}, also...) {
		if path, err := exec.LookPath(p); err == nil {
			return path
		}
	}
	if os.Getenv("E2E_REQUIRE") == "1" {
		t.Fatalf("%s is not installed", program)
	}
	t.Skipf("%s is not installed", program)
	return ""
}

var buildInit = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "openshell-init-")
	if err != nil {
		return "", err
	}
	init := filepath.Join(dir, "openshell-init")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", init, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %s", err, out)
	}
	return init, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if init, err := buildInit(); err == nil {
		os.RemoveAll(filepath.Dir(init))
	}
	os.Exit(code)
}

// makeRootfs makes a userland of busybox, and two users.
func makeRootfs(t *testing.T, dir string) {
	t.Helper()
	busybox := need(t, "busybox")
	for _, d := range []string{"bin", "etc", "tmp", "home/jo"} {
		must(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	must(t, os.Chmod(filepath.Join(dir, "tmp"), 0o1777))
	data, err := os.ReadFile(busybox)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "bin/busybox"), data, 0o755))
	out, err := exec.Command(busybox, "--list").Output()
	must(t, err)
	for _, applet := range strings.Fields(string(out)) {
		if applet != "busybox" {
			must(t, os.Symlink("busybox", filepath.Join(dir, "bin", applet)))
		}
	}
	write(t, filepath.Join(dir, "etc/passwd"), "root:x:0:0::/root:/bin/sh\njo:x:1234:1235::/home/jo:/bin/sh\n")
	write(t, filepath.Join(dir, "etc/group"), "root:x:0:\njo:x:1235:\nvideo:x:44:jo\n")
	write(t, filepath.Join(dir, "etc/plain"), "from the rootfs\n")
}

func write(t *testing.T, name, content string) {
	t.Helper()
	must(t, os.WriteFile(name, []byte(content), 0o644))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// prepare makes a VM's directories without booting it.
func prepare(t *testing.T) *vm {
	t.Helper()
	program, _ := qemu.Binary(runtime.GOARCH)
	need(t, program)
	virtiofsd(t)
	dir := t.TempDir()
	v := &vm{t: t, dir: dir, auth: filepath.Join(dir, "shares", guest.AuthName)}
	must(t, os.MkdirAll(v.auth, 0o755))
	must(t, os.MkdirAll(filepath.Join(dir, "shares", guest.BootDir), 0o755))
	makeRootfs(t, filepath.Join(dir, "rootfs"))
	publish(t, v.auth, 1)
	upper := filepath.Join(dir, "upper.ext4")
	must(t, os.WriteFile(upper, nil, 0o600))
	must(t, os.Truncate(upper, 1<<30))
	if out, err := exec.Command(need(t, "mkfs.ext4", "/sbin/mkfs.ext4"), "-q", "-F", upper).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	return v
}

// publish does what package share does, by hand.
func publish(t *testing.T, auth string, n int) {
	t.Helper()
	gen := fmt.Sprintf("..gen-%08d", n)
	must(t, os.Mkdir(filepath.Join(auth, gen), 0o755))
	write(t, filepath.Join(auth, gen, "sandbox.jwt"), fmt.Sprintf("token %d\n", n))
	must(t, os.Symlink(gen, filepath.Join(auth, "..new")))
	must(t, os.Rename(filepath.Join(auth, "..new"), filepath.Join(auth, "..data")))
	if n == 1 {
		must(t, os.Symlink("..data/sandbox.jwt", filepath.Join(auth, "sandbox.jwt")))
	}
	write(t, filepath.Join(auth, fmt.Sprintf("..is-%08d", n)), "")
}

// spec is a boot spec for a shell command.
func spec(script string) guest.BootSpec {
	return guest.BootSpec{
		Version: guest.Version, ID: "abcdefabcdef", Hostname: "box", AuthDir: contract.AuthDir,
		Process: vocab.Process{Args: []string{"sh", "-c", script}},
	}
}

// boot starts the guest and waits for its Hello.
func (v *vm) boot(s guest.BootSpec) {
	v.t.Helper()
	data, err := json.Marshal(s)
	must(v.t, err)
	write(v.t, filepath.Join(v.dir, "shares", guest.BootDir, guest.SpecFile), string(data))
	v.messages = make(chan guest.Message, 100)
	v.frames = make(chan stream.Frame, 100)
	v.nudge = make(chan struct{}, 1)
	v.output = map[uint32]map[stream.Kind]*bytes.Buffer{}
	v.launch(s.Ephemeral)
	m := v.expect("Hello")
	if m.Hello == nil {
		v.t.Fatalf("the first message is %s", show(m))
	}
	must(v.t, v.control.Send(0, guest.Message{Start: &guest.Start{UnixNano: time.Now().UnixNano()}}))
}

func show(m guest.Message) string {
	data, _ := json.Marshal(m)
	return string(data)
}

func (v *vm) launch(ephemeral bool) {
	t := v.t
	t.Helper()
	init, err := buildInit()
	must(t, err)
	kernel, err := initramfs.FindKernel(initramfs.Search{Explicit: os.Getenv(initramfs.KernelEnv)})
	must(t, err)
	archive, err := initramfs.Cached(v.path("cache"), kernel, init)
	must(t, err)
	machine := qemu.Machine{
		Arch: runtime.GOARCH, Accel: qemu.TCG, CPUs: 1, Memory: 512 << 20,
		Kernel: kernel.Image, Initramfs: archive, Upper: v.path("upper.ext4"),
	}
	if ephemeral {
		machine.Upper = ""
	}
	program, _ := qemu.Binary(machine.Arch)
	v.qemu = exec.Command(program)
	v.qemu.Stderr = os.Stderr
	inherit := func(f *os.File) int {
		v.qemu.ExtraFiles = append(v.qemu.ExtraFiles, f)
		return 2 + len(v.qemu.ExtraFiles)
	}
	control, stdio, console := v.socket(), v.socket(), v.socket()
	machine.FDs = qemu.FDs{
		Stdio: inherit(stdio.guest), Control: inherit(control.guest), Console: inherit(console.guest),
		Root: inherit(v.serve(qemu.Root, v.path("rootfs"))), Shares: inherit(v.serve(qemu.Shares, v.path("shares"))),
	}
	v.qemu.Args = append(v.qemu.Args, machine.Args()...)
	must(t, v.qemu.Start())
	for _, f := range v.qemu.ExtraFiles {
		f.Close() // QEMU's own now, so that its end is seen
	}
	v.ended = make(chan error, 1)
	go func(qemu *exec.Cmd, ended chan<- error) { ended <- qemu.Wait() }(v.qemu, v.ended)
	t.Cleanup(func() { v.qemu.Process.Kill() })
	messages := v.messages
	v.control = stream.New(control.host, stream.Options{Credit: true, MaxMessage: 64 << 10, Message: func(_ uint32, data []byte) error {
		var m guest.Message
		err := json.Unmarshal(data, &m)
		messages <- m
		return err
	}})
	go func() { v.control.Run(); close(messages) }()
	v.stdio, v.workload = stream.Single(stdio.host, stream.Options{Credit: true})
	go v.keep(v.workload)
	go io.Copy(&v.console, console.host)
}

func (v *vm) path(name string) string { return filepath.Join(v.dir, name) }

// pair is a connected pair of sockets.
type pair struct{ host, guest *os.File }

func (v *vm) socket() pair {
	v.t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(v.t, err)
	return pair{os.NewFile(uintptr(fds[0]), "host"), os.NewFile(uintptr(fds[1]), "guest")}
}

// serve runs a virtiofsd until the end of the test and returns the socket of its only
// client.
func (v *vm) serve(device qemu.Device, dir string) *os.File {
	t := v.t
	t.Helper()
	program := virtiofsd(t)
	flavor, _, err := qemu.DetectVirtiofsd(t.Context(), program)
	must(t, err)
	address := &net.UnixAddr{Name: dir + ".sock", Net: "unix"}
	listener, err := net.ListenUnix("unix", address)
	must(t, err)
	defer listener.Close()
	socket, err := listener.File()
	must(t, err)
	defer socket.Close()
	cmd := exec.Command(program, qemu.VirtiofsdArgs(flavor, device, dir, 3, nil)...)
	cmd.ExtraFiles = []*os.File{socket}
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	conn, err := net.DialUnix("unix", nil, address)
	must(t, err)
	defer conn.Close()
	client, err := conn.File()
	must(t, err)
	return client
}

func virtiofsd(t *testing.T) string {
	t.Helper()
	return need(t, "/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd")
}

// keep stores a process's output. The first other frame goes to v.frames and ends it.
func (v *vm) keep(s *stream.Session) {
	for {
		f, err := s.Next(v.t.Context())
		if err != nil {
			return
		}
		if f.Kind != stream.Stdout && f.Kind != stream.Stderr {
			s.Close()
			v.frames <- f
			return
		}
		v.mu.Lock()
		if v.output[f.Session] == nil {
			v.output[f.Session] = map[stream.Kind]*bytes.Buffer{stream.Stdout: {}, stream.Stderr: {}}
		}
		v.output[f.Session][f.Kind].Write(f.Payload)
		v.mu.Unlock()
		select {
		case v.nudge <- struct{}{}:
		default:
		}
	}
}

func (v *vm) out(session uint32, kind stream.Kind) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.output[session] == nil {
		return ""
	}
	return v.output[session][kind].String()
}

// awaitOutput waits until the session's stdout contains text.
func (v *vm) awaitOutput(session uint32, text string) {
	v.t.Helper()
	for deadline := time.After(bootDeadline); !strings.Contains(v.out(session, stream.Stdout), text); {
		select {
		case <-v.nudge:
		case <-deadline:
			v.t.Fatalf("%q did not come; so far: %q, %q", text, v.out(session, stream.Stdout), v.out(session, stream.Stderr))
		}
	}
}

// expect returns the next message other than Seen.
func (v *vm) expect(what string) guest.Message {
	v.t.Helper()
	for deadline := time.After(bootDeadline); ; {
		select {
		case m, ok := <-v.messages:
			if !ok {
				v.t.Fatalf("the guest ended before %s; its console: %s", what, &v.console)
			}
			if m.Seen == nil {
				return m
			}
		case <-deadline:
			v.t.Fatalf("no %s; the guest's console: %s", what, &v.console)
		}
	}
}

// frame returns the next frame that is not output.
func (v *vm) frame(what string) stream.Frame {
	v.t.Helper()
	select {
	case f := <-v.frames:
		return f
	case <-time.After(bootDeadline):
		v.t.Fatalf("no %s; the guest's console: %s", what, &v.console)
		return stream.Frame{}
	}
}

// finish waits for the end of the workload and of QEMU.
func (v *vm) finish(code int) guest.Exited {
	v.t.Helper()
	f := v.frame("exit frame")
	got, err := stream.DecodeExit(f.Payload)
	if f.Kind != stream.Exit || f.Session != 0 || err != nil || got != code {
		v.t.Errorf("the last frame is %+v, code %d; want code %d", f, got, code)
	}
	m := v.expect("Ending or Exited")
	if m.Ending != nil { // none of what could not be run
		m = v.expect("Exited")
	}
	if m.Exited == nil || m.Exited.Code != code {
		v.t.Fatalf("the end is %s, want code %d; stderr: %s", show(m), code, v.out(0, stream.Stderr))
	}
	select {
	case err := <-v.ended:
		must(v.t, err)
	case <-time.After(bootDeadline):
		v.t.Fatalf("the VM does not power off; its console: %s", &v.console)
	}
	if log := v.console.String(); strings.Contains(log, "openshell-init:") {
		v.t.Errorf("the init complains: %s", log)
	}
	return *m.Exited
}

// expectCleanDisk checks that the guest has unmounted its disk.
func (v *vm) expectCleanDisk() {
	v.t.Helper()
	out, err := exec.Command(need(v.t, "dumpe2fs", "/sbin/dumpe2fs"), "-h", v.path("upper.ext4")).Output()
	must(v.t, err)
	if header := string(out); !strings.Contains(header, "clean") || strings.Contains(header, "needs_recovery") {
		v.t.Errorf("the disk was not unmounted: %s", header)
	}
}

// exec runs another command. The sessions are numbered from 1.
func (v *vm) exec(e guest.Exec) *stream.Session {
	v.t.Helper()
	s, err := v.control.Open()
	must(v.t, err)
	must(v.t, v.control.Send(s.ID(), guest.Message{Exec: &e}))
	go v.keep(s)
	return s
}

// send sends input to a process.
func (v *vm) send(s *stream.Session, data []byte) {
	v.t.Helper()
	must(v.t, s.Send(v.t.Context(), stream.Stdin, data))
}

func (v *vm) expectExit(session uint32, code int) {
	v.t.Helper()
	f := v.frame("exec's exit")
	got, err := stream.DecodeExit(f.Payload)
	if f.Kind != stream.Exit || f.Session != session || err != nil || got != code {
		v.t.Errorf("exec ended with %+v (code %d), want session %d, code %d; its output: %q %q",
			f, got, session, code, v.out(session, stream.Stdout), v.out(session, stream.Stderr))
	}
}
