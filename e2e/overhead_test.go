//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/hypervisor/qemu"
	"openshell-vm/drivers/vm/monitor"
	"openshell-vm/internal/stream"
)

// pairs is the number of alternating pairs whose median is the overhead.
const pairs = 20

// BenchmarkRunVM measures `openshell-vm run` up to the workload's first line. It compares that
// with the same virtiofsd, QEMU, kernel and initramfs started by hand: no gateway, no monitor,
// no jail, no token. The goal is a median difference of at most 300 ms.
func BenchmarkRunVM(b *testing.B) {
	w := newWorld(b, os.Getuid())
	w.run("create", "--name", "model", "--ttl", "1h", "--ephemeral", "--", "echo", "up")
	w.run("start", "model")
	w.run("wait", "model")
	cfg, err := monitor.ReadConfig(filepath.Join(w.stateDir(), "sandboxes", w.sandbox("model").ID))
	w.must(err)

	for b.Loop() {
		var ours, byHand []time.Duration
		for range pairs {
			ours = append(ours, w.firstLine("run", "--rm", "--ephemeral", "--", "echo", "up"))
			byHand = append(byHand, bootByHand(b, cfg))
		}
		compare(b, ours, byHand)
	}
}

// BenchmarkRunContainer measures `openshell-vm run` up to the first line, and compares that with
// the engine's own CLI. The goal is a median overhead of at most 15 % or 100 ms, whichever is
// larger.
func BenchmarkRunContainer(b *testing.B) {
	for _, e := range engines[1:] {
		b.Run(e.driver, func(b *testing.B) {
			host := hostVars[e.driver]
			if os.Getenv(host) == "" {
				b.Skipf("%s is not set", host)
			}
			w := newWorld(b, os.Getuid())
			w.setenv(host, os.Getenv(host))
			w.run("ps") // the gateway is warm
			own := []string{e.driver, "-H", os.Getenv(host), "run", "--rm", engineImage, "echo", "up"}
			if e.driver == "podman" {
				own = append([]string{"podman", "--remote", "--url"}, own[2:]...)
			}
			for b.Loop() {
				var ours, engines []time.Duration
				for range pairs {
					ours = append(ours, w.firstLine(append(append([]string{"run", "--rm"}, e.flags...), "--", "echo", "up")...))
					engines = append(engines, firstLineOf(b, exec.Command(own[0], own[1:]...)))
				}
				compare(b, ours, engines)
			}
		})
	}
}

// compare reports both medians, and the median of the pairs' differences.
func compare(b *testing.B, ours, theirs []time.Duration) {
	differences := make([]time.Duration, len(ours))
	for i := range ours {
		differences[i] = ours[i] - theirs[i]
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(median(ours).Milliseconds()), "ms-run")
	b.ReportMetric(float64(median(theirs).Milliseconds()), "ms-baseline")
	b.ReportMetric(float64(median(differences).Milliseconds()), "ms-difference")
	b.ReportMetric(float64(median(ours))/float64(median(theirs)), "ratio")
}

func median(list []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}

// firstLine measures how long the CLI takes to print its first line.
func (w *world) firstLine(args ...string) time.Duration {
	w.Helper()
	return firstLineOf(w, w.command(context.Background(), "openshell-vm", args...))
}

func firstLineOf(t testing.TB, cmd *exec.Cmd) time.Duration {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	took := time.Since(began)
	if werr := cmd.Wait(); err != nil || line != "up\n" || werr != nil {
		t.Fatalf("%s printed %q: %v, %v", cmd, line, err, werr)
	}
	return took
}

// bootByHand starts what a monitor starts, and nothing else. It returns the time to the first
// line of output.
func bootByHand(t testing.TB, cfg monitor.Config) time.Duration {
	t.Helper()
	var tools qemu.Tools
	if err := json.Unmarshal(cfg.Tools, &tools); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	shares := filepath.Join(dir, "shares")
	for name, from := range map[string]string{guest.BootDir: cfg.Boot, guest.AuthName: cfg.Auth} {
		if err := os.CopyFS(filepath.Join(shares, name), os.DirFS(from)); err != nil && name == guest.BootDir {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	stdio, guestStdio := socketPair(t)
	_, guestConsole := socketPair(t)
	control, guestControl := socketPair(t)
	began := time.Now()
	rootListening, root := vhostPair(t, dir, "root")
	sharesListening, shared := vhostPair(t, dir, "shares")
	machine := qemu.Machine{
		Arch: runtime.GOARCH, Accel: tools.Accel, CPUs: cfg.CPUs, Memory: cfg.Memory,
		Kernel: tools.Kernel, Initramfs: tools.Initramfs,
		FDs: qemu.FDs{Stdio: 3, Console: 4, Control: 5, Root: 6, Shares: 7},
	}
	for _, p := range []struct {
		path  string
		args  []string
		files []*os.File
	}{
		{tools.Binary.Path, machine.Args(), []*os.File{guestStdio, guestConsole, guestControl, root, shared}},
		{tools.Virtiofsd.Path, qemu.VirtiofsdArgs(tools.Flavor, qemu.Root, cfg.Rootfs.Source, 3, nil), []*os.File{rootListening}},
		{tools.Virtiofsd.Path, qemu.VirtiofsdArgs(tools.Flavor, qemu.Shares, shares, 3, nil), []*os.File{sharesListening}},
	} {
		cmd := exec.CommandContext(ctx, p.path, p.args...)
		cmd.ExtraFiles = p.files
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = cmd.Wait() }()
		for _, f := range p.files {
			f.Close()
		}
	}
	defer cancel() // before the waits

	go answerHello(control)
	conn, workload := stream.Single(stdio, stream.Options{Credit: true})
	defer conn.Close()
	for {
		frame, err := workload.Next(t.Context())
		if err != nil {
			t.Fatalf("by hand: %v", err)
		}
		if frame.Kind == stream.Stdout {
			return time.Since(began)
		}
	}
}

// answerHello tells the guest to start, and reads its further messages.
func answerHello(control *os.File) {
	var c *stream.Conn
	c = stream.New(control, stream.Options{Credit: true, MaxMessage: 64 << 10, Message: func(_ uint32, data []byte) error {
		var m guest.Message
		if json.Unmarshal(data, &m) == nil && m.Hello != nil {
			return c.Send(0, guest.Message{Start: &guest.Start{UnixNano: time.Now().UnixNano()}})
		}
		return nil
	}})
	c.Run()
}

// socketPair makes two connected sockets. The first is closed at the test's end.
func socketPair(t testing.TB) (ours, theirs *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs = os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return ours, theirs
}

// vhostPair makes a listening socket, and one that is connected to it.
func vhostPair(t testing.TB, dir, name string) (listening, connected *os.File) {
	t.Helper()
	path := filepath.Join(dir, name+".sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	listening, err = l.File()
	if err != nil {
		t.Fatal(err)
	}
	connected, err = c.(*net.UnixConn).File()
	if err != nil {
		t.Fatal(err)
	}
	return listening, connected
}
