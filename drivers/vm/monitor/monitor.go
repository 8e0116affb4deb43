package monitor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/stream"
	"openshell-vm/drivers/vm/guest"
)

// stopMargin is how much longer than asked a guest may take to stop a workload,
// before the VM is powered off under it.
const stopMargin = 5 * time.Second

// portGrace bounds how far the death of a process of the VM and the end of the
// control port may lie apart, on a host that is busy.
const portGrace = 5 * time.Second

// consoleLines of the guest's console go with the report of a failed boot.
const consoleLines = 8

// toolLines of the tools' log are looked at for a dead program's last one.
const toolLines = 50

// monitor is one life of one VM.
type monitor struct {
	cfg   Config
	log   *slog.Logger
	group *group

	tools, stdio, console *rotated
	stdin                 *stream.Writer
	control               *control
	ports                 []io.Closer
	stdioEnd              chan struct{} // closed when the workload's output is complete

	clients sync.WaitGroup
	stop    chan time.Duration // grace; negative for now
	ended   chan struct{}      // closed once exit is final
	exit    Exit

	mu     sync.Mutex
	status Report
}

// Run is one life of one VM, from the start of its processes until nothing of
// it is left. lock is the locked LockFile, which Run keeps open; ready gets one
// line, a Ready. The steps:
//
//  1. open the logs and the socket, so that clients can wait for output
//  2. start the hypervisor's processes, with the guest's three ports
//  3. boot: hello, start, started, within the deadline; report it
//  4. watch until the workload has ended or a process of the VM has died
//  5. take the last output, put the exit status on disk, tell the clients
//  6. end what is left of the VM, whose disk is written, and remove the socket
func Run(cfg Config, lock *os.File, ready io.WriteCloser, log *slog.Logger) error {
	m := &monitor{
		cfg: cfg, log: log, group: newGroup(),
		stdioEnd: make(chan struct{}), ended: make(chan struct{}), stop: make(chan time.Duration, 16),
		status: Report{Attempt: cfg.Attempt},
	}
	defer lock.Close() // and not before: the garbage collector closes a file that nothing refers to
	if err := writePID(lock); err != nil {
		return m.failed(ready, err)
	}
	listener, err := m.open() // 1
	if err != nil {
		return m.failed(ready, err)
	}
	defer os.RemoveAll(cfg.RunDir)
	defer listener.Close()
	go m.serve(listener)

	defer m.group.kill()
	if err := m.launch(); err != nil { // 2
		return m.failed(ready, err)
	}
	early, err := m.boot() // 3
	if err != nil {
		m.group.kill()
		return m.failed(ready, err)
	}
	m.tell(ready, Ready{})
	exit := m.watch(early) // 4
	m.finish(exit)         // 5
	m.group.kill()         // 6
	m.hangUp()
	return nil
}

// open makes the logs and the socket.
func (m *monitor) open() (*net.UnixListener, error) {
	for _, l := range []struct {
		log  **rotated
		name string
		max  int64
		keep int
	}{
		{&m.stdio, StdioFile, logSize, logCount},
		{&m.console, ConsoleFile, logSize, logCount},
		{&m.tools, ToolsFile, toolSize, 2},
	} {
		opened, err := newRotated(m.cfg.file(l.name), l.max, l.keep)
		if err != nil {
			return nil, err
		}
		*l.log = opened
	}
	return listen(m.cfg.RunDir, SocketFile)
}

// launch makes the guest's ports and starts the processes that are the VM.
func (m *monitor) launch() error {
	stdio, console, control, files, err := m.makePorts()
	if err != nil {
		return err
	}
	defer files.close()
	m.stdin = stream.NewWriter(stdio)
	m.control = newControl(m.log, control)
	m.ports = []io.Closer{stdio, console, control}
	start, ok := hypervisors[m.cfg.Hypervisor]
	if !ok {
		return fmt.Errorf("this monitor knows no hypervisor %q", m.cfg.Hypervisor)
	}
	if err := start(m, files); err != nil {
		return err
	}
	m.log.Info("the hypervisor runs", "hypervisor", m.cfg.Hypervisor, "attempt", m.cfg.Attempt)
	go m.control.read(control)
	go m.readStdio(stdio)
	go copyTo(m.console, console)
	return nil
}

// makePorts gives our ends of the guest's ports, and the hypervisor's.
func (m *monitor) makePorts() (stdio, console, control *net.UnixConn, files portFiles, err error) {
	if stdio, files.stdio, err = port(guest.PortStdio); err != nil {
		return
	}
	if console, files.console, err = port(guest.PortConsole); err != nil {
		return
	}
	control, files.control, err = port(guest.PortControl)
	return
}

// readStdio puts the workload's output into the log until its last frame. What
// the log can't take is lost: a full disk must not stop the workload.
func (m *monitor) readStdio(port io.Reader) {
	defer close(m.stdioEnd)
	frames := stream.NewReader(port)
	var records []byte
	for {
		f, err := frames.Read()
		if err != nil || f.Kind == stream.Exit {
			return
		}
		if f.Kind != stream.Stdout && f.Kind != stream.Stderr {
			continue
		}
		records = appendRecords(records[:0], time.Now(), f.Kind, f.Payload)
		if _, err := m.stdio.Write(records); err != nil {
			m.log.Warn("output of the workload is lost", "error", err)
		}
	}
}

// boot brings the guest from its greeting to the running workload. A workload
// that ended at once, or could not be run, has booted too: that message is
// returned, since watch would not see it.
func (m *monitor) boot() (early *guest.Exited, err error) {
	deadline := time.NewTimer(m.cfg.BootDeadline)
	defer deadline.Stop()
	for {
		select {
		case msg, ok := <-m.control.messages:
			if !ok {
				return nil, m.lost()
			}
			if done, err := m.booting(msg); done || err != nil {
				return msg.Exited, err
			}
		case d := <-m.group.died:
			return m.bootedBefore(d)
		case <-m.stop:
			return nil, errors.New("it was stopped while it booted")
		case <-deadline.C:
			return nil, &hungError{m.cfg.BootDeadline}
		}
	}
}

// bootedBefore looks whether a VM that ended had booted: then it is for watch to
// say how it ended.
func (m *monitor) bootedBefore(d death) (early *guest.Exited, err error) {
	for {
		select {
		case msg, ok := <-m.control.messages:
			if !ok {
				return nil, m.afterDeath(d)
			}
			if done, err := m.booting(msg); done || err != nil {
				m.group.report(d)
				return msg.Exited, err
			}
		case <-time.After(portGrace):
			return nil, m.afterDeath(d)
		}
	}
}

// booting takes one step of the boot and says whether it was the last.
func (m *monitor) booting(msg guest.Message) (done bool, err error) {
	switch {
	case msg.Hello != nil:
		if msg.Hello.Version != guest.Version {
			return false, fmt.Errorf("the guest init speaks version %d of the protocol, the monitor %d",
				msg.Hello.Version, guest.Version)
		}
		m.log.Info("the guest greets", "kernel", msg.Hello.Kernel)
		m.update(func(r *Report) { r.Kernel = msg.Hello.Kernel })
		m.control.send(guest.Message{Start: &guest.Start{UnixNano: time.Now().UnixNano()}})
	case msg.Started != nil, msg.Exited != nil:
		m.log.Info("the workload runs")
		m.update(func(r *Report) { r.State, r.StartedAt = drivers.Running, time.Now() })
		return true, nil
	case msg.Failed != nil:
		return false, &drivers.Error{Err: errors.New(printable(msg.Failed.Reason)), Hint: printable(msg.Failed.Hint)}
	case msg.Seen != nil:
		m.seen(*msg.Seen)
	}
	return false, nil
}

// watch follows the running workload and gives its end.
func (m *monitor) watch(early *guest.Exited) Exit {
	if early != nil {
		return exited(*early)
	}
	steps, stopClock, err := clockSteps()
	if err != nil {
		m.log.Warn("the guest's clock will not follow the host's", "error", err)
		stopClock = func() {}
	}
	defer stopClock()
	var patience <-chan time.Time // with a guest that was asked to stop
	for {
		select {
		case msg, ok := <-m.control.messages:
			switch {
			case !ok:
				return m.dead(m.lost())
			case msg.Exited != nil:
				return exited(*msg.Exited)
			case msg.Seen != nil:
				m.seen(*msg.Seen)
			}
		case d := <-m.group.died:
			return m.lastWords(d)
		case <-steps:
			m.control.send(guest.Message{SetClock: &guest.SetClock{UnixNano: time.Now().UnixNano()}})
		case grace := <-m.stop:
			if grace < 0 {
				return m.killed("it was killed")
			}
			m.control.send(guest.Message{Stop: &guest.Stop{GraceNano: int64(grace)}})
			patience = time.After(grace + stopMargin)
		case <-patience:
			return m.killed("the guest did not answer and was powered off")
		}
	}
}

// lastWords looks for an exit status among the messages that a VM left behind
// when it ended.
func (m *monitor) lastWords(d death) Exit {
	for {
		select {
		case msg, ok := <-m.control.messages:
			if !ok {
				return m.dead(m.afterDeath(d))
			}
			if msg.Exited != nil {
				return exited(*msg.Exited)
			}
		case <-time.After(portGrace):
			return m.dead(m.afterDeath(d))
		}
	}
}

// lost is the error for a control port that ended: the process that held it
// has died or is about to.
func (m *monitor) lost() error {
	select {
	case d := <-m.group.died:
		return m.afterDeath(d)
	case <-time.After(portGrace):
		return errors.New("the guest closed its control port")
	}
}

// afterDeath is the error for a VM that has lost a process.
func (m *monitor) afterDeath(d death) error {
	d = m.group.cause(d)
	text := d.String()
	if said := m.said(d.name); said != "" {
		text += ": " + said
	}
	return errors.New(text)
}

func exited(e guest.Exited) Exit {
	return Exit{State: drivers.Exited, ExitCode: e.Code, Reason: printable(e.Reason)}
}

// dead is the end without an exit status. What is left of the VM goes now: its
// ports end, and with them the output.
func (m *monitor) dead(err error) Exit {
	m.group.kill()
	return Exit{State: drivers.Dead, Reason: err.Error()}
}

// killed is the end that somebody asked for.
func (m *monitor) killed(why string) Exit {
	m.group.kill()
	return Exit{State: drivers.Exited, ExitCode: 128 + 9, Reason: why}
}

// finish makes the exit known: the rest of the output, then the disk, then the
// clients.
func (m *monitor) finish(e Exit) {
	select {
	case <-m.stdioEnd:
	case <-time.After(m.cfg.StopGrace):
		m.log.Warn("the workload's output did not end in time")
	}
	if e.Reason != "" && e.State == drivers.Exited {
		m.stdio.Write(appendRecords(nil, time.Now(), stream.Stderr, []byte("openshell-vm: "+e.Reason+"\n")))
	}
	m.conclude(e)
	m.stdio.Close()
}

// conclude writes the exit status and lets the clients see it.
func (m *monitor) conclude(e Exit) {
	r := m.report()
	e.StartedAt, e.SeenGeneration, e.Attempt = r.StartedAt, r.SeenGeneration, m.cfg.Attempt
	e.ExitedAt = time.Now()
	if err := e.write(m.cfg.Dir); err != nil {
		m.log.Error("the exit status cannot be kept", "error", err)
	}
	m.exit = e
	m.update(func(r *Report) { r.State = e.State })
	m.log.Info("ended", "state", e.State, "code", e.ExitCode, "reason", e.Reason)
	close(m.ended)
}

// hangUp lets the clients read the rest, within reason.
func (m *monitor) hangUp() {
	for _, p := range m.ports {
		p.Close()
	}
	read := make(chan struct{})
	go func() {
		m.clients.Wait()
		close(read)
	}()
	select {
	case <-read:
	case <-time.After(5 * time.Second):
	}
}

// failed reports a VM whose workload never ran.
func (m *monitor) failed(ready io.WriteCloser, err error) error {
	r := Ready{Problem: err.Error(), Hint: drivers.HintOf(err)}
	r.Hung = errors.As(err, new(*hungError))
	r.Console = strings.Join(tail(m.cfg.file(ConsoleFile), consoleLines), "\n")
	m.conclude(Exit{State: drivers.Dead, Reason: "the boot failed: " + err.Error()})
	if m.stdio != nil {
		m.stdio.Close()
	}
	m.tell(ready, r)
	return err
}

// tell writes the one line of the report pipe. Nobody may be left to read it.
func (m *monitor) tell(ready io.WriteCloser, r Ready) {
	defer ready.Close()
	if err := json.NewEncoder(ready).Encode(r); err != nil {
		m.log.Info("nobody waits for the report", "error", err)
	}
}

// hungError is a boot that went past its deadline.
type hungError struct{ deadline time.Duration }

func (e *hungError) Error() string {
	return fmt.Sprintf("the guest did not boot within %v", e.deadline)
}

// requestStop hands a client's wish to the main path, which looks at it next.
func (m *monitor) requestStop(grace time.Duration) {
	select {
	case m.stop <- grace:
	case <-m.ended:
	case <-time.After(requestTimeout):
	}
}

func (m *monitor) seen(s guest.Seen) {
	m.update(func(r *Report) { r.SeenGeneration = max(r.SeenGeneration, s.Generation) })
}

func (m *monitor) update(change func(*Report)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(&m.status)
}

// report is the monitor's state now.
func (m *monitor) report() Report {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.status
	r.PIDs = m.group.pids()
	r.Jail = m.group.gaps()
	return r
}
