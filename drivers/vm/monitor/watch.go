package monitor

import (
	"context"
	"errors"
	"strings"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/monitor/api"
	"openshell-vm/drivers/vm/monitor/logs"
	"openshell-vm/drivers/vm/monitor/programs"
	"openshell-vm/internal/hostclock"
)

// stopMargin is how much longer than the grace a guest may take to stop its workload.
// After that the VM is killed.
const stopMargin = 5 * time.Second

// portGrace bounds the time between the death of a process of the VM and the end of the
// control port, on a busy host.
const portGrace = 5 * time.Second

// watch follows the running workload and returns how it ended.
func (m *monitor) watch(early *guest.Exited) Exit {
	if early != nil {
		return exited(*early)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	steps := m.clockSteps(ctx)
	if m.cfg.Door != "" {
		go door{m, m.cfg.Door}.serve(ctx)
	}
	clock, room := newGuestClock(), newRoom(m.cfg.Upper)
	var patience <-chan time.Time // nil until the guest was asked to stop
	for {
		select {
		case msg, ok := <-m.control.messages:
			switch {
			case !ok:
				return m.dead(m.lost())
			case msg.Exited != nil:
				return exited(*msg.Exited)
			case msg.SeenShare != nil:
				m.seenShare(*msg.SeenShare)
			case msg.Seen != nil:
				m.seen(*msg.Seen)
				clock.look(msg.Seen.UnixNano)
			case msg.Mirror != nil:
				m.mirrored(*msg.Mirror)
			case msg.Clock != nil:
				clock.answer(m, *msg.Clock)
				m.noteProcesses(*msg.Clock)
			case msg.Ending != nil:
				m.stdio.Release()
			}
		case d := <-m.group.Died:
			return m.lastWords(d)
		case <-steps:
			clock.set(m)
		case <-clock.due.C:
			clock.tick(m)
		case <-room.due.C:
			if why := room.keep(m, patience != nil); why != "" {
				return m.killed(why)
			}
		case grace := <-m.stop:
			if grace < 0 {
				return m.killed("it was killed")
			}
			room.thaw(m)
			m.stdio.Release() // the workload may have to write before it can end
			m.control.send(guest.Message{Stop: &guest.Stop{GraceNano: int64(grace)}})
			patience = time.After(grace + stopMargin)
		case <-patience:
			return m.killed("the guest did not answer and was powered off")
		}
	}
}

// mostProcesses is more than a Linux guest can have.
const mostProcesses = 1 << 22

// noteProcesses notes how many processes the guest has.
func (m *monitor) noteProcesses(c guest.Clock) {
	if c.Processes > 0 && c.Processes <= mostProcesses {
		m.update(func(r *api.Report) { r.Processes = c.Processes })
	}
}

// clockSteps tells when the host's clock was set, until ctx ends. The guest's clock
// does not follow by itself.
func (m *monitor) clockSteps(ctx context.Context) <-chan struct{} {
	steps := make(chan struct{}, 1)
	go func() {
		err := hostclock.Watch(ctx, func() {
			select {
			case steps <- struct{}{}:
			default: // one is waiting already; watch will take the newest time
			}
		})
		if err != nil {
			m.log.Warn("the guest's clock does not follow the host's at once", "error", err)
		}
	}()
	return steps
}

// lastWords looks for an exit status among the messages that an ended VM left behind.
func (m *monitor) lastWords(d programs.Death) Exit {
	d = m.group.End(d)
	for {
		select {
		case msg, ok := <-m.control.messages:
			if !ok {
				return m.dead(m.blame(d))
			}
			if msg.Exited != nil {
				return exited(*msg.Exited)
			}
		case <-time.After(portGrace):
			return m.dead(m.blame(d))
		}
	}
}

// lost returns the error for a control port that ended. Usually the process that held
// the port has died, or is about to.
func (m *monitor) lost() error {
	if err := m.control.broken(); err != nil {
		return err
	}
	select {
	case d := <-m.group.Died:
		return m.blame(m.group.End(d))
	case <-time.After(portGrace):
		return errors.New("the guest closed its control port")
	}
}

// blame returns the error for a VM that ended by a death.
func (m *monitor) blame(d programs.Death) error {
	greeted := m.report().Kernel != ""
	if !d.Forced() && !d.Server {
		if down := m.wentDown(); d.Err == nil && greeted || down.panic != "" {
			return down
		}
	}
	text := d.String()
	if why := m.group.OutOfMemory(d.Name); why != "" && d.BySIGKILL() {
		return errors.New(why)
	}
	if d.Err == nil && !greeted {
		text += ", before the guest said anything"
	}
	if said := m.tools.Said(d.Name); said != "" && !d.BySIGKILL() {
		text += ": " + said
	}
	return &drivers.Error{Err: errors.New(text), Hint: drivers.HintOf(d.Err)}
}

// exited is the end that the guest reports.
func exited(e guest.Exited) Exit {
	return Exit{State: drivers.Exited, ExitCode: e.Code, Reason: printable(e.Reason)}.checked()
}

// dead is the end without an exit status. It kills what is left of the VM, so that its
// ports end, and with them the output.
func (m *monitor) dead(err error) Exit {
	m.group.Kill()
	reason := err.Error()
	if down := (*guestDown)(nil); errors.As(err, &down) && len(down.console) > 0 {
		reason += "; the last lines of its console: " + strings.Join(down.console, " | ")
	}
	return Exit{State: drivers.Dead, Reason: reason}
}

// killed kills the VM and returns that end: exit code 137, as of SIGKILL.
func (m *monitor) killed(why string) Exit {
	m.group.Kill()
	return Exit{State: drivers.Exited, ExitCode: 128 + 9, Reason: why}
}

// guestDown is the error for a guest that ended its VM without reporting how the
// workload ended.
type guestDown struct {
	panic   string   // why its kernel panicked; "" if it did not
	console []string // its last lines: in a panic, up to the panic's own
}

func (e *guestDown) Error() string {
	if e.panic != "" {
		return "the guest's kernel panicked: " + e.panic
	}
	return "the guest was powered off or restarted from inside"
}

const (
	panicLines = 100 // last lines of the console that are searched for a panic: a trace follows it
	downLines  = 3   // lines of the console that are told
)

// wentDown finds out from the guest's console why it ended.
func (m *monitor) wentDown() *guestDown {
	m.awaitConsole()
	lines, down := logs.Tail(m.cfg.file(logs.ConsoleFile), panicLines), &guestDown{}
	for i, line := range lines {
		if _, why, found := strings.Cut(line, "Kernel panic - not syncing: "); found {
			lines, down.panic = lines[:i+1], why
			break
		}
	}
	down.console = lines[max(0, len(lines)-downLines):]
	return down
}
