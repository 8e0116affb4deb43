package main

import (
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/guest"
	"openshell-vm/internal/stream"
)

// supervisor runs the workload and the execs, and does what the host asks.
type supervisor struct {
	host  *host
	procs *procs
	root  *root
	spec  guest.BootSpec

	started chan guest.Start // the host's go-ahead
	stop    chan struct{}    // closed at the first Stop

	workload *session

	busy sync.WaitGroup // execs

	mu      sync.Mutex
	stopped bool
	ending  bool // no exec begins any more
	execs   map[uint32]*session
}

func newSupervisor(h *host, p *procs, r *root, spec guest.BootSpec) *supervisor {
	return &supervisor{
		host: h, procs: p, root: r, spec: spec,
		started: make(chan guest.Start, 1), stop: make(chan struct{}),
		workload: newSession(h.workload, p), execs: map[uint32]*session{},
	}
}

// message does what a control message asks for. It does not wait.
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
		s.host.send(guest.Message{Clock: &guest.Clock{Number: m.AskClock.Number, UnixNano: time.Now().UnixNano()}})
	case m.StepClock != nil:
		stepClock(m.StepClock.Nano)
	case m.Exec != nil:
		s.exec(id, *m.Exec)
	}
}

// awaitStart waits for the go-ahead; false says that the host has thought
// better of it.
func (s *supervisor) awaitStart() (guest.Start, bool) {
	select {
	case start := <-s.started:
		return start, true
	case <-s.stop:
		return guest.Start{}, false
	}
}

// end ends the workload: politely, and after the grace for good; without a grace it
// is killed.
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
	s.signalWorkload(int(unix.SIGTERM))
	time.AfterFunc(grace, func() { s.signalWorkload(int(unix.SIGKILL)) })
}

// signalWorkload signals the workload, at its start if it does not run yet.
func (s *supervisor) signalWorkload(number int) {
	s.workload.ask(number)
}

// runWorkload runs the workload to its end, and ends everything else.
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
	// The host may have held output back; it is told all before the end.
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

// stopping says that the host has asked for the end.
func (s *supervisor) stopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}

// giveUp waits no longer for a host that holds output back.
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

// exec runs a further command in its own time: what comes right after this
// message finds its session.
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
	case len(e.Process.Args) == 0:
		s.refuse(x, "there is no command")
	case !running || !s.begin(x, e):
		s.refuse(x, "the workload does not run")
	}
}

func (s *supervisor) refuse(x *session, why string) {
	x.stream.Fail([]byte(why))
	x.stream.Close()
}

// begin runs an exec unless the sandbox is ending.
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
	p := inherit(e.Process, s.spec.Process)
	if err := x.run(s.root, p, e.Stdin || p.Terminal); err != nil {
		refused := refusal(err)
		x.stream.Send(x.patience, stream.Stderr, []byte("openshell-vm: "+refused.reason+"\n"))
		x.stream.Exit(refused.code)
		return
	}
	status := <-x.done
	x.finish()
	x.stream.Exit(exitCode(status))
}

// forget makes a session's number free.
func (s *supervisor) forget(x *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.execs, x.stream.ID())
	x.stream.Close()
}
