package monitor

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"openshell-vm/drivers/vm/cgroup"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/monitor/api"
	"openshell-vm/drivers/vm/monitor/logs"
	"openshell-vm/drivers/vm/monitor/programs"
	"openshell-vm/drivers/vm/network/keeper"
	"openshell-vm/internal/peer"
	"openshell-vm/internal/rotlog"
	"openshell-vm/internal/stream"
)

// monitor is one life of one VM.
type monitor struct {
	cfg    Config
	read   readTools
	log    *slog.Logger
	group  *programs.Group
	origin cgroup.Group // in which the monitor was started
	began  time.Time
	// silence is the constant, but for tests.
	silence time.Duration

	stdio, console *rotlog.Log
	tools          *logs.Tools
	stdioConn      *stream.Conn
	workload       *stream.Session // the only session of stdioConn
	control        *control
	ports          ports
	net            *keeper.Network // nil if the VM has no network
	stdioEnd       chan struct{}   // closed when the workload's output is complete
	consoles       sync.WaitGroup  // the goroutine that copies into console

	clients sync.WaitGroup
	stop    chan time.Duration // gets the grace; negative means at once
	ended   chan struct{}      // closed once exit is final
	exit    Exit

	mu     sync.Mutex
	status api.Report
}

// readTools reads the Tools in a configuration, for the hypervisor of that name.
type readTools func(name string, tools []byte) (hypervisor.Tools, error)

// Run is one life of one VM, from the start of its processes until nothing of it is
// left. read reads cfg.Tools. lock is the locked LockFile; Run keeps it open. ready
// gets one line, an api.Ready. The steps:
//
//  1. enter a cgroup; open the logs, the guest's three ports and the socket (from now
//     on clients are answered)
//  2. start the hypervisor's processes
//  3. boot: hello, start, started, within the deadline; write to ready, but after 5 if
//     the workload could not be run
//  4. watch until the workload has ended or a process of the VM has died
//  5. take the last output, write the exit status to disk, tell the clients
//  6. kill what is left of the VM (its disk is written by then), let the clients read
//     the rest, remove the socket and the cgroups
func Run(cfg Config, read readTools, lock *os.File, ready io.WriteCloser, log *slog.Logger) error {
	return newMonitor(cfg, read, log).run(lock, ready)
}

func newMonitor(cfg Config, read readTools, log *slog.Logger) *monitor {
	return &monitor{
		cfg: cfg, read: read, log: log, group: programs.New(), began: time.Now(), silence: silence,
		stdioEnd: make(chan struct{}), ended: make(chan struct{}), stop: make(chan time.Duration, 16),
		status: api.Report{Attempt: cfg.Attempt},
	}
}

func (m *monitor) run(lock *os.File, ready io.WriteCloser) error {
	var listener *net.UnixListener
	leave := sync.OnceFunc(func() {
		if listener != nil {
			listener.Close()
		}
		if m.stdio != nil {
			m.stdio.Leave()
		}
		os.RemoveAll(m.cfg.RunDir)
		m.leaveCgroup()
		lock.Close() // keeps lock in use until here: the garbage collector closes a file that nothing refers to
	})
	defer leave()
	if err := writePID(lock); err != nil {
		return m.failed(ready, err)
	}
	m.enterCgroup()
	theirs, listener, err := m.open() // 1
	if err != nil {
		return m.failed(ready, err)
	}
	go server{m}.serve(listener)

	defer m.group.Kill()
	if err := m.launch(theirs); err != nil { // 2
		return m.failed(ready, err)
	}
	early, err := m.boot() // 3
	if err != nil {
		m.group.Kill()
		return m.failed(ready, err)
	}
	if early == nil {
		m.tell(ready, api.Ready{})
	}
	if err := m.unlistRoot(); err != nil {
		m.log.Warn("the list of the root's files is left", "error", err)
	}
	exit := m.watch(early) // 4
	m.finish(exit)         // 5
	if early != nil {      // whoever starts it finds out at once that it could not run
		m.tell(ready, api.Ready{})
	}
	m.group.Kill() // 6
	if m.net != nil {
		m.net.Close()
	}
	m.hangUp(leave)
	return nil
}

// open makes the logs, the ports and the socket. It returns the hypervisor's
// ends of the ports.
func (m *monitor) open() (hypervisor.Ports, *net.UnixListener, error) {
	if err := m.openLogs(); err != nil {
		return hypervisor.Ports{}, nil, err
	}
	theirs, err := m.ports.make()
	if err != nil {
		return hypervisor.Ports{}, nil, err
	}
	if theirs.Network, err = m.openNetwork(); err != nil {
		theirs.Close()
		return hypervisor.Ports{}, nil, err
	}
	m.stdioConn = stream.New(m.ports.stdio, stream.Options{Credit: true})
	if m.workload, err = m.stdioConn.Accept(0); err != nil {
		return theirs, nil, err
	}
	m.control = newControl(m.log, m.ports.control)
	listener, err := peer.ListenIn(m.cfg.RunDir, api.SocketFile)
	return theirs, listener, err
}

func (m *monitor) openLogs() (err error) {
	if m.stdio, err = logs.OpenStdio(m.cfg.Dir); err != nil {
		return err
	}
	if m.console, err = logs.OpenConsole(m.cfg.Dir); err != nil {
		return err
	}
	m.tools, err = logs.OpenTools(m.cfg.Dir)
	return err
}

// launch starts the VM's processes, and gives them their ends of the ports.
func (m *monitor) launch(theirs hypervisor.Ports) error {
	m.group.Place(programs.Setting{
		ID: m.cfg.ID, Cgroup: m.cfg.guestCgroup(), MemoryLimit: m.cfg.MemoryLimit, RequireJail: m.cfg.RequireJail, Output: m.tools,
	})
	processes, err := m.processes(theirs)
	if err != nil {
		theirs.Close()
		return err
	}
	for _, p := range processes {
		defer hypervisor.CloseAll(p.Files...)
	}
	for _, p := range processes {
		if err := m.group.Start(p, m.group.Report); err != nil {
			return err
		}
	}
	if m.net != nil {
		if err := m.net.Start(); err != nil {
			return err
		}
	}
	m.log.Info("the hypervisor runs", "hypervisor", m.cfg.Hypervisor, "attempt", m.cfg.Attempt)
	go m.control.read()
	go func() { m.control.broke(m.stdioConn.Run()) }()
	go m.readStdio()
	m.consoles.Go(func() { copyTo(m.console, m.ports.console) })
	return nil
}

// processes asks the hypervisor's Tools which processes the VM needs.
func (m *monitor) processes(theirs hypervisor.Ports) ([]hypervisor.Process, error) {
	tools, err := m.read(m.cfg.Hypervisor, m.cfg.Tools)
	if err != nil {
		return nil, err
	}
	if lister, ok := tools.(hypervisor.Lister); ok && m.cfg.Image == "" {
		if err := m.listRoot(lister); err != nil {
			return nil, err
		}
	}
	return tools.Processes(m.cfg.Machine, theirs)
}

// awaitConsole waits until the last console output of an ended guest is in the log, up
// to portGrace.
func (m *monitor) awaitConsole() {
	copied := make(chan struct{})
	go func() { m.consoles.Wait(); close(copied) }()
	select {
	case <-copied:
	case <-time.After(portGrace):
	}
}

// readStdio writes the workload's output to the log, up to the last frame. A write may
// wait for an attached client that does not read; then the workload waits, too. Output
// that the disk can't take is lost: a full disk must not stop the workload.
func (m *monitor) readStdio() {
	defer close(m.stdioEnd)
	var records []byte
	lost := false
	for {
		f, err := m.workload.Next(context.Background())
		if err != nil || f.Kind == stream.Exit || f.Kind == stream.Error {
			return
		}
		records = logs.Append(records[:0], time.Now(), f.Kind, f.Payload)
		_, err = m.stdio.Write(records)
		if err != nil && !lost {
			m.log.Warn("output of the workload is lost", "error", err)
		}
		lost = err != nil
	}
}

// requestStop passes a client's request to stop on to boot or watch.
func (m *monitor) requestStop(grace time.Duration) {
	select {
	case m.stop <- grace:
	case <-m.ended:
	case <-time.After(requestTimeout):
	}
}

// seen notes which generation the guest has seen. It does not believe a generation
// that does not exist yet.
func (m *monitor) seen(s guest.Seen) {
	if s.Generation > Generation(m.cfg.Auth) {
		return
	}
	m.update(func(r *api.Report) {
		if s.Generation > r.SeenGeneration {
			r.SeenGeneration, r.SeenAt = s.Generation, time.Now()
		}
	})
}

// seenShare is seen for another share than the sandbox's own. It knows those of the configuration
// only.
func (m *monitor) seenShare(s guest.SeenShare) {
	i := slices.IndexFunc(m.cfg.Shares, func(share hypervisor.Shared) bool { return share.Name == s.Name })
	if i < 0 || s.Generation > Generation(m.cfg.Shares[i].Source) {
		return
	}
	m.update(func(r *api.Report) {
		if s.Generation > r.SeenShares[s.Name].Generation {
			all := map[string]api.SeenShare{s.Name: {Generation: s.Generation, At: time.Now()}}
			for name, other := range r.SeenShares { // who has the report goes on reading the old one
				if name != s.Name {
					all[name] = other
				}
			}
			r.SeenShares = all
		}
	})
}

// mirrored notes why the guest's mirror of the share is not used. A guest that tells anything
// else does so to nobody's harm but its own.
func (m *monitor) mirrored(s guest.Mirror) {
	problem := ""
	if s.Problem != "" {
		problem = "its mirror of the share leads to the share itself, without inotify: " + printable(s.Problem)
	}
	m.update(func(r *api.Report) { r.Mirror = problem })
}

func (m *monitor) update(change func(*api.Report)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(&m.status)
}

// stallShown is how long output has to wait before report tells of it.
const stallShown = 3 * time.Second

// report returns the monitor's state.
func (m *monitor) report() api.Report {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.status
	r.PIDs = m.group.PIDs()
	r.Reason = cmp.Or(r.Reason, stopped(r.PIDs))
	r.Jail = append(m.group.Gaps(), m.cfg.limitFact())
	if m.net != nil {
		r.Jail, r.Network = append(r.Jail, m.net.Facts()...), m.net.State()
		if t := m.net.Traffic(); t != nil {
			r.Received, r.Sent = &t.Received, &t.Sent
		}
	}
	if m.stdio != nil && m.stdio.Waited() > stallShown {
		r.Output = "held: its output waits for an attached client that does not read"
	}
	return r
}
