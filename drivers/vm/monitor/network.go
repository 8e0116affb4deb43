package monitor

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

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

// netProcess keeps the VM's network process running. When it dies, the guest goes on: its
// card's socket and the listening sockets stay here, and the next process gets them. The
// guest's connections of that time are gone.
type netProcess struct {
	wire      *os.File   // the process's end of the guest's card
	listeners []*os.File // in the order of Config.Forwards
	ended     chan struct{}

	mu      sync.Mutex
	control net.Conn // to the process that runs; nil while none does
	resolv  string   // what it was told
	down    string   // why it is down; "" while it runs
	starts  int
	lastEnd string // of the process before
	guest   netMemory
}

// openNetwork makes the guest's wire and the listening sockets, and returns the
// hypervisor's end. Without a network it does nothing.
func (m *monitor) openNetwork() (theirs *os.File, err error) {
	if m.cfg.Network == nil {
		return nil, nil
	}
	n := &netProcess{ended: make(chan struct{})}
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
	died := make(chan death, 1)
	if err := m.runNetwork(died); err != nil {
		return err
	}
	go m.keepNetwork(died)
	go m.followResolv()
	return nil
}

// keepNetwork starts the network process again whenever it has died, until the VM ends.
func (m *monitor) keepNetwork(died chan death) {
	n, pause, began := m.net, netPauseLeast, time.Now()
	defer n.close()
	defer close(n.ended)
	for {
		d := <-died
		if time.Since(began) > netSteady {
			pause = netPauseLeast
		}
		if m.group.isKilled() {
			return
		}
		why := m.netDeath(d)
		n.noteDown(why)
		time.Sleep(pause)
		pause, began = min(2*pause, netPauseMost), time.Now()
		switch err := m.runNetwork(died); {
		case errors.Is(err, errKilled):
			return
		case err != nil:
			died <- death{name: netName, err: err}
		default:
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

// runNetwork starts one network process and tells it all that it has to know.
func (m *monitor) runNetwork(died chan death) error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make the control socket of the network: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control")
	defer theirs.Close()
	control, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		return err
	}
	n := m.net
	p := hypervisor.Process{Name: netName, Files: append([]*os.File{theirs, n.wire}, n.listeners...), Jail: jail.Config{
		Profile: jail.Network, Path: "/" + network.Program, Network: true, Tasks: netTasks,
		Binds: []jail.Bind{{Source: m.cfg.NetworkProgram, Target: "/" + network.Program, Exec: true}},
	}}
	go n.listen(m, control)
	if err := m.startUntil(p, func(d death) { control.Close(); died <- d }); err != nil {
		control.Close()
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.control, n.down, n.resolv = control, "", network.ReadResolv(resolvConf)
	n.starts++
	return n.tell(network.ToProcess{Config: m.cfg.Network, Resolv: &n.resolv, Given: n.guest.stillGiven()})
}

// tell sends the process that runs a message. It gives up on one that does not read: that
// one is about to die, or hangs. n.mu is held.
func (n *netProcess) tell(message network.ToProcess) error {
	n.control.SetWriteDeadline(time.Now().Add(requestTimeout))
	_, err := n.control.Write(network.Line(message))
	return err
}

// listen takes a process's messages until it ends. What breaks a bound ends the process.
func (n *netProcess) listen(m *monitor, control net.Conn) {
	defer control.Close()
	lines := bufio.NewScanner(control)
	lines.Buffer(nil, network.MaxLine)
	for lines.Scan() {
		var message network.ToMonitor
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
	n.down, n.lastEnd, n.control = why, why, nil
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
		if n.control != nil && now != n.resolv && n.tell(network.ToProcess{Resolv: &now}) == nil {
			n.resolv = now
		}
		n.mu.Unlock()
	}
}
