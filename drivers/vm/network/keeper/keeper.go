package keeper

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/network"
)

// Process is the network process's name in the VM.
const Process = "network"

// How long a network process that died stays down, and how long one has to run so that
// the next death counts as the first.
const (
	pauseLeast = 100 * time.Millisecond
	pauseMost  = 5 * time.Second
	steady     = 30 * time.Second
)

// tellTimeout is how long a process may take to read a message.
const tellTimeout = 10 * time.Second

// VM is the virtual machine that the network belongs to.
type VM interface {
	// Start starts a process of the VM in its jail. It does not wait for the jail: a jail
	// that fails is a death. died is told of the death, once. kill ends the process.
	Start(p hypervisor.Process, died func(Death)) (kill func(), err error)
	// Ends reports whether the VM ends. Then nothing is started for it any more.
	Ends() bool
}

// Death is how a process ended.
type Death struct {
	Why    string // one line for people
	Killed bool   // by SIGKILL, as after kill
}

// Network is the network of one VM.
type Network struct {
	vm      VM
	cfg     *network.Config
	program string // the path of openshell-net
	log     *slog.Logger

	wire      *os.File   // the process's end of the guest's card
	listeners []*os.File // in the order of Config.Forwards
	ended     chan struct{}
	patience  time.Duration // tellTimeout; a field for tests

	mu      sync.Mutex // not held while a process is told something
	run     *process   // the process that runs and was told its configuration; nil while none does
	resolv  string     // what it was told
	down    string     // why it is down; "" while it runs
	starts  int
	begun   time.Time // when the process that runs was started
	lastEnd string    // of the process before
	guest   memory
}

// Open makes the guest's wire and opens the listening sockets on the host. card is the
// hypervisor's end of the wire. Close gives the sockets back; after Start it has to be
// called as well.
func Open(vm VM, cfg *network.Config, program string, log *slog.Logger) (n *Network, card *os.File, err error) {
	n = newNetwork(vm, cfg, program, log)
	for _, text := range cfg.AllowEgress {
		e, err := network.ParseEgress(text)
		if err != nil {
			return nil, nil, err
		}
		n.guest.egress = append(n.guest.egress, e)
	}
	if n.wire, card, err = pair("wire"); err != nil {
		return nil, nil, fmt.Errorf("make the wire of the network: %w", err)
	}
	for _, f := range cfg.Forwards {
		listener, _, err := f.Open()
		if err != nil {
			n.Close()
			card.Close()
			return nil, nil, err
		}
		n.listeners = append(n.listeners, listener)
	}
	return n, card, nil
}

func newNetwork(vm VM, cfg *network.Config, program string, log *slog.Logger) *Network {
	return &Network{vm: vm, cfg: cfg, program: program, log: log, ended: make(chan struct{}), patience: tellTimeout}
}

// pair makes two connected sockets.
func pair(name string) (one, other *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name), nil
}

// Close gives the host's ports back. It is for the end of the VM, when no process needs
// them.
func (n *Network) Close() { hypervisor.CloseAll(append(n.listeners, n.wire)...) }

// Start starts the network process, and from then on keeps one running until the VM ends.
func (n *Network) Start() error {
	run, err := n.launch()
	if err != nil {
		return err
	}
	go n.keep(run)
	go n.followResolv()
	return nil
}

// keep starts the network process again whenever it has died, until the VM ends.
func (n *Network) keep(run *process) {
	pause := pauseLeast
	defer n.Close()
	defer close(n.ended)
	for {
		began := time.Now()
		why := (<-run.died).Why
		if time.Since(began) > steady {
			pause = pauseLeast
		}
		for run = nil; run == nil; pause = min(2*pause, pauseMost) {
			if n.vm.Ends() {
				return
			}
			n.noteDown(why)
			time.Sleep(pause)
			next, err := n.launch()
			if err != nil {
				why = err.Error()
				continue
			}
			run = next
			n.log.Warn("the network process is started again", "because", why)
		}
	}
}

// launch starts one network process and tells it all that it has to know. After an error
// none runs.
func (n *Network) launch() (*process, error) {
	run, err := n.startProcess()
	if err != nil {
		return nil, err
	}
	go n.listen(run)
	return run, n.introduce(run)
}

// introduce tells a new process all that it has to know. One that does not take it is
// killed, and has ended when introduce returns: there must not be two on one wire.
func (n *Network) introduce(run *process) error {
	resolv := network.ReadResolv(resolvConf)
	n.mu.Lock()
	given := n.guest.stillGiven()
	n.mu.Unlock()
	if err := n.tell(run, introduction(n.cfg, resolv, given)...); err != nil {
		d := <-run.died
		if d.Killed {
			return fmt.Errorf("tell the network process its configuration: %w", err)
		}
		return errors.New(d.Why)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.run, n.down, n.resolv = run, "", resolv
	n.starts++
	n.begun = time.Now()
	return nil
}

func (n *Network) noteDown(why string) {
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
func (n *Network) followResolv() {
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
