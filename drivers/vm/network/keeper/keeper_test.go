package keeper

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/network"
)

// plainVM is a VM whose processes are plain programs, without a jail. script is what the
// shell runs for the n-th one, counted from 1.
type plainVM struct {
	script  func(n int64) string
	ends    atomic.Bool
	running atomic.Int64

	mu      sync.Mutex
	started []*exec.Cmd
	all     sync.WaitGroup
}

func (v *plainVM) Ends() bool { return v.ends.Load() }

func (v *plainVM) Start(p hypervisor.Process, died func(Death)) (func(), error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.Ends() {
		return nil, errors.New("the VM ends")
	}
	cmd := exec.Command("sh", "-c", v.script(int64(len(v.started)+1)))
	cmd.ExtraFiles = p.Files
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	v.started = append(v.started, cmd)
	v.running.Add(1)
	v.all.Go(func() {
		err := cmd.Wait()
		v.running.Add(-1)
		died(Death{Why: fmt.Sprint(p.Name, " ended: ", err), Killed: fmt.Sprint(err) == "signal: killed"})
	})
	return func() { cmd.Process.Kill() }, nil
}

// end ends the VM, and waits until the network keeps no process any more.
func (v *plainVM) end(t *testing.T, n *Network) {
	v.ends.Store(true)
	v.mu.Lock()
	for _, cmd := range v.started {
		cmd.Process.Kill()
	}
	v.mu.Unlock()
	select {
	case <-n.ended:
	case <-time.After(30 * time.Second):
		t.Error("the network process is still kept")
	}
	v.all.Wait()
}

func plainNetwork(t *testing.T, script func(n int64) string) (n *Network, running *atomic.Int64) {
	t.Helper()
	vm := &plainVM{script: script}
	n = newNetwork(vm, &network.Config{MTU: 1500}, "", slog.New(slog.DiscardHandler))
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	n.wire = w
	t.Cleanup(func() { vm.end(t, n) })
	return n, &vm.running
}

// many is more than a control socket takes while nobody reads.
func many() (all []given) {
	for i := range 1024 {
		all = append(all, given{Given: network.Given{
			Name: strings.Repeat("a", 240), Address: fmt.Sprintf("fd00:1:2:3:4:5:6:%x", i), Until: time.Now().Add(time.Hour),
		}})
	}
	return all
}

func awaitNetwork(t *testing.T, what string, ok func(n *Network) bool, n *Network) {
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
	n, running := plainNetwork(t, func(n int64) string {
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
	n.patience = 200 * time.Millisecond
	n.guest.given = many()
	if run, err := n.launch(); err == nil {
		t.Fatalf("a process that ended at once is taken for one that works: %v", run)
	}
	died := make(chan Death, 1)
	died <- Death{Why: "network ended"}
	go n.keep(&process{died: died})
	most := int64(0)
	awaitNetwork(t, "a process works", func(n *Network) bool {
		most = max(most, running.Load())
		if (n.down == "") != (n.run != nil) && n.starts > 0 {
			t.Errorf("down is %q, and a process runs: %v", n.down, n.run != nil)
		}
		return n.starts == 1 && n.run != nil
	}, n)
	if most > 1 || running.Load() != 1 {
		t.Errorf("%d processes were on the wire at once, and %d are", most, running.Load())
	}
}

// TestManyMessages: a process that has many messages at once, as after this one stood still for
// a minute, is heard to the end and lives.
func TestManyMessages(t *testing.T) {
	const sent = messageBurst + 2*messages
	n, running := plainNetwork(t, func(int64) string {
		return fmt.Sprintf(`for i in $(seq %d); do echo '{"more":1}' >&3; done; exec cat <&3 >/dev/null`, sent)
	})
	run, err := n.launch()
	if err != nil {
		t.Fatal(err)
	}
	go n.keep(run)
	awaitNetwork(t, "all is heard", func(n *Network) bool { return n.guest.times == sent }, n)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.run != run || running.Load() != 1 {
		t.Errorf("the process was replaced: %s", n.lastEnd)
	}
}

// TestReportWhileNetworkHangs: whoever asks for the VM's state does not wait for a network
// process that does not read.
func TestReportWhileNetworkHangs(t *testing.T) {
	n, running := plainNetwork(t, func(int64) string { return "exec sleep 1000" })
	n.guest.given = many()
	n.patience = time.Minute
	result := make(chan error, 1)
	go func() {
		_, err := n.launch()
		result <- err
	}()
	awaitNetwork(t, "the process runs", func(*Network) bool { return running.Load() == 1 }, n)
	time.Sleep(50 * time.Millisecond) // into the write
	got := make(chan struct{})
	go func() { n.Facts(); n.State(); close(got) }()
	select {
	case <-got:
	case <-time.After(10 * time.Second):
		t.Error("no facts within 10 s")
	}
	close(n.ended) // nothing keeps it
	select {
	case err := <-result:
		t.Errorf("the write ended: %v", err)
	default:
	}
}

// TestNetworkThatStopsReading: a process that works and then no longer reads is replaced.
func TestNetworkThatStopsReading(t *testing.T) {
	n, running := plainNetwork(t, func(n int64) string {
		if n == 1 {
			return "head -n 1 <&3 >/dev/null; exec sleep 1000"
		}
		return "exec cat <&3 >/dev/null"
	})
	n.patience = 200 * time.Millisecond
	run, err := n.launch()
	if err != nil {
		t.Fatal(err)
	}
	go n.keep(run)
	resolv := strings.Repeat("# a line\n", 5000)
	for range 20 {
		if err := n.tell(run, network.ToProcess{Resolv: &resolv}); err != nil {
			break
		}
	}
	awaitNetwork(t, "another process works", func(n *Network) bool { return n.starts == 2 && n.down == "" && n.run != run }, n)
	if n := running.Load(); n != 1 {
		t.Errorf("%d processes run", n)
	}
}
