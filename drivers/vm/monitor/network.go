package monitor

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/jail"
	"openshell-vm/drivers/vm/network"
)

// netName is the network process's name in the VM.
const netName = "network"

// netTasks is how many threads it may have.
const netTasks = 64

// How long a network process that died stays down, and how long one has to run so that
// the next death counts as the first.
const (
	netPauseLeast = 100 * time.Millisecond
	netPauseMost  = 5 * time.Second
	netSteady     = 30 * time.Second
)

// How many messages a network process may send: it sends one a second at most.
const (
	netMessages     = 5 // in a second
	netMessageBurst = 30
)

// netProcess keeps the VM's network process running. When it dies, the guest goes on: its
// card's socket and the listening sockets stay here, and the next process gets them. The
// guest's connections of that time are gone.
type netProcess struct {
	wire      *os.File   // the process's end of the guest's card
	listeners []*os.File // in the order of Config.Forwards
	ended     chan struct{}
	// start starts a process; a field for tests.
	start func(p hypervisor.Process, died func(death)) (kill func(), err error)
	// patience is how long a process may take to read a message.
	patience time.Duration

	mu      sync.Mutex // not held while a process is told something
	run     *netRun    // the process that runs and was told its configuration; nil while none does
	resolv  string     // what it was told
	down    string     // why it is down; "" while it runs
	starts  int
	begun   time.Time // when the process that runs was started
	lastEnd string    // of the process before
	guest   netMemory
}

// netRun is one network process.
type netRun struct {
	control net.Conn
	kill    func()
	died    chan death // gets one, once the process has ended
}

func newNetProcess(start func(hypervisor.Process, func(death)) (func(), error)) *netProcess {
	return &netProcess{ended: make(chan struct{}), start: start, patience: requestTimeout}
}

// openNetwork makes the guest's wire and the listening sockets, and returns the
// hypervisor's end. Without a network it does nothing.
func (m *monitor) openNetwork() (theirs *os.File, err error) {
	if m.cfg.Network == nil {
		return nil, nil
	}
	n := newNetProcess(m.startMember)
	for _, text := range m.cfg.Network.AllowEgress {
		e, err := network.ParseEgress(text)
		if err != nil {
			return nil, err
		}
		n.guest.egress = append(n.guest.egress, e)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make the wire of the network: %w", err)
	}
	n.wire, theirs = os.NewFile(uintptr(fds[0]), "wire"), os.NewFile(uintptr(fds[1]), "wire")
	for _, f := range m.cfg.Network.Forwards {
		listener, _, err := f.Open()
		if err != nil {
			n.close()
			theirs.Close()
			return nil, &refusal{err}
		}
		n.listeners = append(n.listeners, listener)
	}
	m.net = n
	return theirs, nil
}

// closeNetwork gives the host's ports back. Only after group.kill nothing needs them.
func (m *monitor) closeNetwork() {
	if m.net != nil {
		m.net.close()
	}
}

func (n *netProcess) close() { hypervisor.CloseAll(append(n.listeners, n.wire)...) }

// startNetwork starts the network process, and from then on keeps one running.
func (m *monitor) startNetwork() error {
	if m.net == nil {
		return nil
	}
	run, err := m.runNetwork()
	if err != nil {
		return err
	}
	go m.keepNetwork(run)
	go m.followResolv()
	return nil
}

// keepNetwork starts the network process again whenever it has died, until the VM ends.
func (m *monitor) keepNetwork(run *netRun) {
	n, pause := m.net, netPauseLeast
	defer n.close()
	defer close(n.ended)
	for {
		began := time.Now()
		why := m.netDeath(<-run.died)
		if time.Since(began) > netSteady {
			pause = netPauseLeast
		}
		for run = nil; run == nil; pause = min(2*pause, netPauseMost) {
			if m.group.isKilled() {
				return
			}
			n.noteDown(why)
			time.Sleep(pause)
			next, err := m.runNetwork()
			if err != nil {
				why = err.Error()
				continue
			}
			run = next
			m.log.Warn("the network process is started again", "because", why)
		}
	}
}

// netDeath says why a network process ended.
func (m *monitor) netDeath(d death) string {
	why := d.String()
	if oom := m.outOfMemory(d.name); oom != "" && d.bySIGKILL() {
		return oom
	}
	if said := m.said(d.name); said != "" && !d.bySIGKILL() {
		why += ": " + printable(said)
	}
	return why
}

// runNetwork starts one network process and tells it all that it has to know. After an
// error none runs.
func (m *monitor) runNetwork() (*netRun, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make the control socket of the network: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control")
	defer theirs.Close()
	control, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		return nil, err
	}
	n, died := m.net, make(chan death, 1)
	p := hypervisor.Process{Name: netName, Files: append([]*os.File{theirs, n.wire}, n.listeners...), Jail: jail.Config{
		Profile: jail.Network, Path: "/" + network.Program, Network: true, Tasks: netTasks,
		Binds: []jail.Bind{{Source: m.cfg.NetworkProgram, Target: "/" + network.Program, Exec: true}},
	}}
	kill, err := n.start(p, func(d death) { control.Close(); died <- d })
	if err != nil {
		control.Close()
		return nil, err
	}
	run := &netRun{control, kill, died}
	go n.listen(m, run)
	return run, m.introduce(run)
}

// startMember starts a process of the VM. After kill it may still take a moment to die.
func (m *monitor) startMember(p hypervisor.Process, died func(death)) (kill func(), err error) {
	if err := m.startUntil(p, died); err != nil {
		return nil, err
	}
	return m.group.killer(p.Name), nil
}

// introduce tells a new process all that it has to know. One that does not take it is
// killed, and has ended when introduce returns: there must not be two on one wire.
func (m *monitor) introduce(run *netRun) error {
	n := m.net
	resolv := network.ReadResolv(resolvConf)
	n.mu.Lock()
	given := n.guest.stillGiven()
	n.mu.Unlock()
	if err := n.tell(run, introduction(m.cfg.Network, resolv, given)...); err != nil {
		d := <-run.died
		if d.bySIGKILL() {
			return fmt.Errorf("tell the network process its configuration: %w", err)
		}
		return errors.New(m.netDeath(d))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.run, n.down, n.resolv = run, "", resolv
	n.starts++
	n.begun = time.Now()
	return nil
}

// introduction is the first messages for a process, each no longer than it may be.
func introduction(cfg *network.Config, resolv string, given []network.Given) []network.ToProcess {
	all := []network.ToProcess{{Config: cfg}}
	for some := range slices.Chunk(given, network.MaxGiven) {
		all = append(all, network.ToProcess{Given: some})
	}
	return append(all, network.ToProcess{Resolv: &resolv})
}

// tell sends a process messages. One that does not read is killed: it hangs, and another
// takes its place. Only one goroutine at a time tells a process something: until it is
// n.run that is introduce, and from then on followResolv.
func (n *netProcess) tell(run *netRun, messages ...network.ToProcess) error {
	run.control.SetWriteDeadline(time.Now().Add(n.patience))
	for _, message := range messages {
		if _, err := run.control.Write(network.Line(message)); err != nil {
			run.end()
			return err
		}
	}
	return nil
}

// end ends a process.
func (r *netRun) end() {
	r.control.Close()
	r.kill()
}

// listen takes a process's messages until it ends. What breaks a bound ends the process.
func (n *netProcess) listen(m *monitor, run *netRun) {
	defer run.end()
	lines := bufio.NewScanner(run.control)
	lines.Buffer(nil, network.MaxLine)
	often := rate.NewLimiter(netMessages, netMessageBurst)
	for lines.Scan() {
		var message network.ToMonitor
		if !often.Allow() {
			m.log.Warn("the network process sends too many messages")
			return
		}
		if err := json.Unmarshal(lines.Bytes(), &message); err != nil {
			m.log.Warn("the network process sends what is no message", "error", err)
			return
		}
		n.mu.Lock()
		fresh := n.guest.take(message)
		n.mu.Unlock()
		for _, r := range fresh {
			m.log.Info("refused to the guest", "what", r.What, "name", r.Name, "why", r.Why)
		}
	}
}

func (n *netProcess) noteDown(why string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down, n.lastEnd, n.run = why, why, nil
}

// resolvEvery is how often the host's resolv.conf is looked at. It may be replaced, or
// lead elsewhere, and no watch on a file sees all of that.
const resolvEvery = 2 * time.Second

// resolvConf is a variable for tests.
var resolvConf = network.ResolvConf

// followResolv tells the network process when the host's resolv.conf changes, until the VM
// ends.
func (m *monitor) followResolv() {
	n := m.net
	for {
		select {
		case <-n.ended:
			return
		case <-time.After(resolvEvery):
		}
		now := network.ReadResolv(resolvConf)
		n.mu.Lock()
		run, news := n.run, now != n.resolv
		n.mu.Unlock()
		if run == nil || !news || n.tell(run, network.ToProcess{Resolv: &now}) != nil {
			continue
		}
		n.mu.Lock()
		if n.run == run { // else a new one was told what is true now
			n.resolv = now
		}
		n.mu.Unlock()
	}
}
