package monitor

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/network"
	"openshell-vm/internal/rotlog"
)

// plainNetwork is a monitor whose network processes are plain programs, without a jail.
// script is what the shell runs for the n-th one, counted from 1.
func plainNetwork(t *testing.T, script func(n int64) string) (m *monitor, running *atomic.Int64) {
	t.Helper()
	dir := t.TempDir()
	tools, err := rotlog.Open(filepath.Join(dir, ToolsFile), rotlog.Options{Max: 1 << 20, Count: 2})
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	m = &monitor{
		cfg:   Config{ID: "x", Dir: dir, Network: &network.Config{MTU: 1500}},
		group: newGroup(), log: slog.New(slog.DiscardHandler), tools: tools,
	}
	running = &atomic.Int64{}
	var all sync.WaitGroup
	var mu sync.Mutex
	var started []*exec.Cmd
	t.Cleanup(func() {
		m.group.kill()
		mu.Lock()
		for _, cmd := range started {
			cmd.Process.Kill()
		}
		mu.Unlock()
		select {
		case <-m.net.ended:
		case <-time.After(30 * time.Second):
			t.Error("the network process is still kept")
		}
		all.Wait()
	})
	var count atomic.Int64
	m.net = newNetProcess(func(p hypervisor.Process, died func(death)) (func(), error) {
		cmd := exec.Command("sh", "-c", script(count.Add(1)))
		cmd.ExtraFiles = p.Files
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		mu.Lock()
		started = append(started, cmd)
		mu.Unlock()
		running.Add(1)
		all.Go(func() {
			err := cmd.Wait()
			running.Add(-1)
			died(death{name: p.Name, err: err})
		})
		return func() { cmd.Process.Kill() }, nil
	})
	m.net.wire = w
	return m, running
}

// many is more than a control socket takes while nobody reads.
func many() (given []network.Given) {
	for i := range 1024 {
		given = append(given, network.Given{
			Name: strings.Repeat("a", 240), Address: fmt.Sprintf("fd00:1:2:3:4:5:6:%x", i), Until: time.Now().Add(time.Hour),
		})
	}
	return given
}

func awaitNetwork(t *testing.T, what string, ok func(n *netProcess) bool, n *netProcess) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		n.mu.Lock()
		is := ok(n)
		n.mu.Unlock()
		if is {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// TestNetworkThatHangs: network processes that do not read their configuration, or end at
// once, are replaced until one works. There are never two, and until then the network is
// told to be down.
func TestNetworkThatHangs(t *testing.T) {
	work := "exec cat <&3 >/dev/null"
	m, running := plainNetwork(t, func(n int64) string {
		switch n {
		case 1:
			return "exit 3"
		case 2, 3:
			return "exec sleep 1000"
		case 4:
			return "exit 4"
		}
		return work
	})
	m.net.patience = 200 * time.Millisecond
	m.net.guest.given = many()
	if run, err := m.runNetwork(); err == nil {
		t.Fatalf("a process that ended at once is taken for one that works: %v", run)
	}
	died := make(chan death, 1)
	died <- death{name: netName}
	go m.keepNetwork(&netRun{died: died})
	most := int64(0)
	awaitNetwork(t, "a process works", func(n *netProcess) bool {
		most = max(most, running.Load())
		if (n.down == "") != (n.run != nil) && n.starts > 0 {
			t.Errorf("down is %q, and a process runs: %v", n.down, n.run != nil)
		}
		return n.starts == 1 && n.run != nil
	}, m.net)
	if most > 1 || running.Load() != 1 {
		t.Errorf("%d processes were on the wire at once, and %d are", most, running.Load())
	}
}

// TestReportWhileNetworkHangs: whoever asks for the VM's state does not wait for a network
// process that does not read.
func TestReportWhileNetworkHangs(t *testing.T) {
	m, running := plainNetwork(t, func(int64) string { return "exec sleep 1000" })
	m.net.guest.given = many()
	m.net.patience = time.Minute
	result := make(chan error, 1)
	go func() {
		_, err := m.runNetwork()
		result <- err
	}()
	awaitNetwork(t, "the process runs", func(*netProcess) bool { return running.Load() == 1 }, m.net)
	time.Sleep(50 * time.Millisecond) // into the write
	got := make(chan struct{})
	go func() { m.net.facts(); m.net.state(); close(got) }()
	select {
	case <-got:
	case <-time.After(10 * time.Second):
		t.Error("no facts within 10 s")
	}
	close(m.net.ended) // nothing keeps it
	select {
	case err := <-result:
		t.Errorf("the write ended: %v", err)
	default:
	}
}

// TestNetworkThatStopsReading: a process that works and then no longer reads is replaced.
func TestNetworkThatStopsReading(t *testing.T) {
	m, running := plainNetwork(t, func(n int64) string {
		if n == 1 {
			return "head -n 1 <&3 >/dev/null; exec sleep 1000"
		}
		return "exec cat <&3 >/dev/null"
	})
	m.net.patience = 200 * time.Millisecond
	run, err := m.runNetwork()
	if err != nil {
		t.Fatal(err)
	}
	go m.keepNetwork(run)
	resolv := strings.Repeat("# a line\n", 5000)
	for range 20 {
		if err := m.net.tell(run, network.ToProcess{Resolv: &resolv}); err != nil {
			break
		}
	}
	awaitNetwork(t, "another process works", func(n *netProcess) bool { return n.starts == 2 && n.down == "" && n.run != run }, m.net)
	if n := running.Load(); n != 1 {
		t.Errorf("%d processes run", n)
	}
}
