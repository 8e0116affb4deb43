package main

import (
	"cmp"
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/guest"
	"openshell-vm/internal/stream"
)

// supervisor runs the workload and the execs, and carries out the host's messages.
type supervisor struct {
	host  *host
	procs *procs
	root  *root
	spec  guest.BootSpec

	started chan guest.Start // the host's go-ahead
	stop    chan struct{}    // closed at the first Stop

	workload *session

	busy sync.WaitGroup // execs that run

	mu      sync.Mutex
	stopped bool
	ending  bool // no exec may begin any more
	execs   map[uint32]*session
}

func newSupervisor(h *host, p *procs, r *root, spec guest.BootSpec) *supervisor {
	return &supervisor{
		host: h, procs: p, root: r, spec: spec,
		started: make(chan guest.Start, 1), stop: make(chan struct{}),
		workload: newSession(h.workload, p), execs: map[uint32]*session{},
	}
}

// message carries out a control message. It does not wait.
func (s *supervisor) message(id uint32, m guest.Message) {
	switch {
	case m.Start != nil:
		select {
		case s.started <- *m.Start:
		default:
		}
	case m.Stop != nil:
		s.end(time.Duration(m.Stop.GraceNano))
	case m.Signal != nil:
		s.signalWorkload(m.Signal.Number)
	case m.SetClock != nil:
		setClock(m.SetClock.UnixNano)
	case m.AskClock != nil:
		c := guest.Clock{Number: m.AskClock.Number, Processes: countProcesses()}
		c.UnixNano = time.Now().UnixNano()
		s.host.send(guest.Message{Clock: &c})
	case m.StepClock != nil:
		stepClock(m.StepClock.Nano)
	case m.Exec != nil:
		s.exec(id, *m.Exec)
	case m.Door != nil:
		s.openDoor(id)
	}
}

// awaitStart waits for the go-ahead. It returns false if the host sends Stop instead.
func (s *supervisor) awaitStart() (guest.Start, bool) {
	select {
	case start := <-s.started:
		return start, true
	case <-s.stop:
		return guest.Start{}, false
	}
}

// end ends the workload: SIGTERM now and SIGKILL after the grace, or SIGKILL now if
// there is no grace.
func (s *supervisor) end(grace time.Duration) {
	s.mu.Lock()
	first := !s.stopped
	s.stopped = true
	s.mu.Unlock()
	if first {
		close(s.stop)
	}
	if grace <= 0 {
		s.signalWorkload(int(unix.SIGKILL))
		return
	}
	s.signalWorkload(cmp.Or(s.spec.StopSignal, int(unix.SIGTERM)))
	time.AfterFunc(grace, func() { s.signalWorkload(int(unix.SIGKILL)) })
}

// signalWorkload signals the workload. If that does not run yet, it gets the signal at
// its start.
func (s *supervisor) signalWorkload(number int) {
	s.workload.ask(number)
}

// runWorkload runs the workload to its end. Then it kills all other processes, and
// sends the last output.
func (s *supervisor) runWorkload() outcome {
	w, p := s.workload, s.spec.Process
	if err := w.run(s.root, p, s.spec.Stdin || p.Terminal); err != nil {
		return refusal(err)
	}
	s.host.send(guest.Message{Started: &guest.Started{PID: w.pid}})
	status := <-w.done
	s.mu.Lock()
	s.ending = true
	s.mu.Unlock()
	s.procs.killAll(killDeadline)
	s.host.send(guest.Message{Ending: &guest.Ending{}})
	// The host may hold output back, but not for longer than killDeadline.
	release := time.AfterFunc(killDeadline, s.giveUp)
	defer release.Stop()
	w.finish()
	s.busy.Wait()
	exit := outcome{code: exitCode(status)}
	if w.cut.Load() {
		exit.reason = "the last of its output is missing: the host did not take it"
	}
	if status.Signal() == unix.SIGKILL && !s.stopping() && killedForMemory(w.pid) {
		exit.reason = outOfMemory
	}
	return exit
}

// stopping reports whether the host has sent Stop.
func (s *supervisor) stopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}

// giveUp drops the output that the host has not taken.
func (s *supervisor) giveUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.workload.giveUp()
	for _, x := range s.execs {
		x.giveUp()
	}
}

// killDeadline is how long the kernel may take to end killed processes, and
// the host to take the last output.
const killDeadline = 5 * time.Second

func refusal(err error) outcome {
	var refused *notRunnable
	if errors.As(err, &refused) {
		return outcome{code: refused.code, reason: refused.reason}
	}
	return outcome{code: codeNotExecutable, reason: err.Error()}
}

// exec runs a command and does not wait for it. The session is there when exec returns,
// so the frames right after this message find it.
func (s *supervisor) exec(id uint32, e guest.Exec) {
	if id == 0 {
		logf("exec: session 0 is the workload's")
		return
	}
	from, err := s.host.control.Accept(id)
	if err != nil {
		logf("exec: %v", err)
		return
	}
	x := newSession(from, s.procs)
	switch running := s.workload.running(); {
	case e.Copy == nil && e.Launch == nil && len(e.Process.Args) == 0, e.Launch != nil && len(e.Launch.Args) == 0:
		s.refuse(x, guest.NoCommand)
	case !running || !s.begin(x, e):
		s.refuse(x, "the workload does not run")
	}
}

// openDoor takes a session for the next program that asks the gateway.
func (s *supervisor) openDoor(id uint32) {
	from, err := s.host.control.Accept(id)
	if err != nil {
		logf("a session for the gateway's socket: %v", err)
		return
	}
	s.root.door.Take(from)
}

func (s *supervisor) refuse(x *session, why string) {
	x.stream.Fail([]byte(why))
	x.stream.Close()
}

// begin starts an exec, unless the sandbox is ending.
func (s *supervisor) begin(x *session, e guest.Exec) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending {
		return false
	}
	s.execs[x.stream.ID()] = x
	s.busy.Go(func() { s.runExec(x, e) })
	return true
}

func (s *supervisor) runExec(x *session, e guest.Exec) {
	defer s.forget(x)
	if err := s.begun(x, e); err != nil {
		refused := refusal(err)
		x.stream.Send(x.patience, stream.Stderr, []byte("openshell-vm: "+refused.reason+"\n"))
		x.stream.Exit(refused.code)
		return
	}
	if e.Launch != nil {
		x.stream.Exit(0)
		return
	}
	status := <-x.done
	x.finish()
	x.stream.Exit(exitCode(status))
}

// begun starts what an exec asks for.
func (s *supervisor) begun(x *session, e guest.Exec) error {
	switch {
	case e.Copy != nil:
		return x.runCopy(s.root, *e.Copy)
	case e.Launch != nil:
		return x.launch(s.root, inherit(*e.Launch, s.spec.Process))
	}
	p := inherit(e.Process, s.spec.Process)
	return x.run(s.root, p, e.Stdin || p.Terminal)
}

// forget frees a session's number.
func (s *supervisor) forget(x *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.execs, x.stream.ID())
	x.stream.Close()
}
