//go:build e2e

package krun_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest"
	"openshell-vm/drivers/driverstest/content"
	"openshell-vm/drivers/vm"
	"openshell-vm/share"
)

// sandbox is a running VM with a share, whose workload tells each generation
// that it sees.
type sandbox struct {
	t      *testing.T
	driver *vm.Driver
	share  *share.Share
	id     string
	lines  chan string
}

const gatewayID = "0123456789ab"

func startSandbox(t *testing.T) *sandbox {
	t.Helper()
	dir, _ := driverstest.WorkDir(t)
	s := &sandbox{t: t, driver: newDriver(t, dir, gatewayID), id: "e2e000000002", lines: make(chan string, 16)}
	spec := drivers.Spec{
		ID: s.id, Name: "fresh", GatewayID: gatewayID, Dir: filepath.Join(dir, "state", "sandboxes", s.id),
		Hypervisor: "krun", Memory: 256 << 20,
	}
	bin := filepath.Join(dir, "bin")
	for _, d := range []string{spec.Dir, bin, filepath.Join(dir, "state", "shares")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	witness, err := os.ReadFile(witnessPath(t))
	if err == nil {
		err = os.WriteFile(filepath.Join(bin, "witness"), witness, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	if s.share, err = share.Create(filepath.Join(dir, "state", "shares", s.id), share.Options{UID: share.Keep, GID: share.Keep}); err != nil {
		t.Fatal(err)
	}
	spec.Auth = mount(t, s.share.AuthDir(), drivers.AuthDir)
	spec.Mounts = []drivers.Mount{mount(t, bin, "/opt/suite")}
	spec.Process.Args = []string{"/opt/suite/witness", "watch", drivers.AuthDir}
	s.publish()
	if spec, _, err = s.driver.Resolve(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if err := s.driver.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.driver.Remove(context.Background(), s.id) })
	begin := time.Now()
	if err := s.driver.Start(t.Context(), s.id); err != nil {
		t.Fatal(err, drivers.HintOf(err))
	}
	t.Logf("the workload runs after %.1f s", time.Since(begin).Seconds())
	s.follow()
	s.expect(1)
	return s
}

func mount(t *testing.T, source, target string) drivers.Mount {
	t.Helper()
	m, err := drivers.NewMount(source, target)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// follow collects the workload's lines.
func (s *sandbox) follow() {
	r, w := io.Pipe()
	go func() {
		s.driver.Attach(s.t.Context(), s.id, true, drivers.Streams{Stdout: w, Stderr: w})
		w.Close()
	}()
	go func() {
		defer close(s.lines)
		for lines := bufio.NewScanner(r); lines.Scan(); {
			s.lines <- lines.Text()
		}
	}()
}

// publish makes the next generation.
func (s *sandbox) publish() uint64 {
	s.t.Helper()
	p, err := s.share.Publish(s.t.Context(), 0, func(n uint64) ([]share.File, error) {
		return []share.File{{Name: "sandbox.jwt", Data: content.New(n)}}, nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return p.Generation
}

// expect waits until the workload has seen a generation, and fails on anything
// but a whole one that is not older.
func (s *sandbox) expect(generation uint64) {
	s.t.Helper()
	for deadline := time.After(time.Minute); ; {
		select {
		case line, ok := <-s.lines:
			digits, whole := strings.CutSuffix(line, " ok")
			n, err := strconv.ParseUint(digits, 10, 64)
			if !ok || !whole || err != nil || n > generation {
				s.t.Fatalf("waiting for %d, the workload saw %q", generation, line)
			}
			if n == generation {
				return
			}
		case <-deadline:
			s.t.Fatalf("generation %d was not seen in a minute", generation)
		}
	}
}

// unannounced publishes as a host would whose guest has no watch.
func (s *sandbox) unannounced(n uint64) {
	s.t.Helper()
	auth := s.share.AuthDir()
	gen := fmt.Sprintf("..gen-%08d", n)
	next := filepath.Join(auth, "..next")
	for _, err := range []error{
		os.Mkdir(filepath.Join(auth, gen), 0o755),
		os.WriteFile(filepath.Join(auth, gen, "sandbox.jwt"), content.New(n), 0o444),
		os.Symlink(gen, next),
		os.Rename(next, filepath.Join(auth, "..data")),
	} {
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// files counts the descriptors of the process that is the VM.
func (s *sandbox) files() int {
	s.t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.pid()))
	if err != nil {
		s.t.Fatal(err)
	}
	return len(entries)
}

func (s *sandbox) pid() int {
	s.t.Helper()
	status, err := s.driver.Inspect(s.t.Context(), s.id)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range status.Details {
		if f.Name == "pid of krun" {
			pid, _ := strconv.Atoi(f.Value)
			return pid
		}
	}
	s.t.Fatalf("no process among %v", status.Details)
	return 0
}

// freshness publishes a lot and measures when the guest sees it.
func freshness(t *testing.T) {
	s := startSandbox(t)

	const watched = 200
	var took []time.Duration
	var after20 int
	for i := range watched {
		n := s.publish()
		begin := time.Now()
		s.expect(n)
		took = append(took, time.Since(begin))
		if i == 19 {
			after20 = s.files()
		}
	}
	p99 := report(t, "with the watch", took)
	if p99 > time.Second {
		t.Errorf("p99 with the watch is %v", p99)
	}

	var last uint64
	for range 2000 - watched {
		last = s.publish()
	}
	s.expect(last)
	after2000 := s.files()
	t.Logf("descriptors of the VM: %d after 20 publishes, %d after 2,000", after20, after2000)
	if after2000 > after20+100 {
		t.Errorf("descriptors grow with publishes: %d, then %d", after20, after2000)
	}

	took = nil
	for range unwatchedCount() {
		last++
		s.unannounced(last)
		begin := time.Now()
		s.expect(last)
		took = append(took, time.Since(begin))
	}
	report(t, "without announcements", took)
	if worst := slices.Max(took); worst > 6*time.Second {
		t.Errorf("without the watch a publish was seen after %v", worst)
	}
}

// unwatchedCount is how many publishes are measured without the watch: each
// takes some seconds.
func unwatchedCount() int {
	if n, err := strconv.Atoi(os.Getenv("KRUN_UNWATCHED")); err == nil && n > 0 {
		return n
	}
	return 20
}

// report logs the figures and gives the 99th percentile.
func report(t *testing.T, what string, took []time.Duration) (p99 time.Duration) {
	t.Helper()
	slices.Sort(took)
	at := func(p int) time.Duration { return took[(len(took)-1)*p/100].Round(100 * time.Microsecond) }
	t.Logf("publish to visible, %s: p50 %v, p99 %v, max %v of %d", what, at(50), at(99), at(100), len(took))
	return at(99)
}

// deaths kills the VM, and then a VM's monitor.
func deaths(t *testing.T) {
	t.Run("the VM", func(t *testing.T) {
		s := startSandbox(t)
		if err := syscall.Kill(s.pid(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		status, err := s.driver.Wait(t.Context(), s.id)
		if err != nil || status.State != drivers.Dead || !strings.Contains(status.Reason, "krun") {
			t.Errorf("%+v, %v", status, err)
		}
		t.Logf("killed: %s, %s", status.State, status.Reason)
	})
	t.Run("its monitor", func(t *testing.T) {
		s := startSandbox(t)
		pid := s.pid()
		if err := syscall.Kill(parent(t, pid), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); os.IsNotExist(err) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the VM outlives its monitor")
			}
		}
		status, err := s.driver.Inspect(t.Context(), s.id)
		if err != nil || status.State != drivers.Dead {
			t.Errorf("%+v, %v", status, err)
		}
		t.Logf("the monitor was killed: %s, %s", status.State, status.Reason)
	})
}

// parent is a process's parent.
func parent(t *testing.T, pid int) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if text, ok := strings.CutPrefix(line, "PPid:"); ok {
			ppid, err := strconv.Atoi(strings.TrimSpace(text))
			if err == nil && ppid > 1 {
				return ppid
			}
		}
	}
	t.Fatalf("process %d has no parent", pid)
	return 0
}
