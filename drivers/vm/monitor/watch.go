package monitor

import (
	"errors"
	"slices"
	"strings"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/guest"
)

// stopMargin is how much longer than asked a guest may take to stop a workload,
// before the VM is powered off under it.
const stopMargin = 5 * time.Second

// portGrace bounds how far the death of a process of the VM and the end of the
// control port may lie apart, on a host that is busy.
const portGrace = 5 * time.Second

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
	d = m.group.bury(d)
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

// lost is the error for a control port that ended: the process that held it
// has died or is about to.
func (m *monitor) lost() error {
	select {
	case d := <-m.group.died:
		return m.blame(m.group.bury(d))
	case <-time.After(portGrace):
		return errors.New("the guest closed its control port")
	}
}

// blame is the error for a VM that a death has brought down.
func (m *monitor) blame(d death) error {
	if d.err == nil { // the guest's own doing
		if said := m.panicked(); said != "" {
			return errors.New("the guest's kernel panicked: " + said)
		}
	}
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

// panicked is what the guest's kernel said last, if it gave up.
func (m *monitor) panicked() string {
	for _, line := range slices.Backward(tail(m.cfg.file(ConsoleFile), toolLines)) {
		if _, why, found := strings.Cut(line, "Kernel panic - not syncing: "); found {
			return why
		}
	}
	return ""
}
