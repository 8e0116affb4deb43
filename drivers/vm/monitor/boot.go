package monitor

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/monitor/api"
	"openshell-vm/drivers/vm/monitor/logs"
	"openshell-vm/drivers/vm/monitor/programs"
)

// consoleLines is how many lines of the guest's console the report of a failed boot
// carries.
const consoleLines = 8

// boot brings the guest from its greeting to the running workload. A workload that
// ended at once, or could not be run, counts as booted too. Its Exited message is
// returned as early, since watch will not see it.
//
// BootDeadline counts from the start, and anew with each report of progress.
// LongestBoot ends a guest that reports progress for ever.
func (m *monitor) boot() (early *guest.Exited, err error) {
	deadline := time.NewTimer(m.cfg.BootDeadline)
	defer deadline.Stop()
	longest := time.NewTimer(time.Until(m.began.Add(m.cfg.LongestBoot())))
	defer longest.Stop()
	var files uint64
	for {
		select {
		case msg, ok := <-m.control.messages:
			if !ok {
				return nil, m.lost()
			}
			if done, err := m.booting(msg); done || err != nil {
				return msg.Exited, err
			}
			if p := msg.Progress; p != nil && p.Files > files {
				files = p.Files
				deadline.Reset(m.cfg.BootDeadline)
			}
		case d := <-m.group.Died:
			return m.bootedBefore(d)
		case <-m.stop:
			return nil, errStopped
		case <-deadline.C:
			return nil, &hungError{m.cfg.BootDeadline, m.report().Doing}
		case <-longest.C:
			return nil, m.tooLong()
		}
	}
}

var errStopped = errors.New("it was stopped while it booted")

// bootedBefore finds out whether a VM that has ended had booted before. If it had,
// watch says how it ended.
func (m *monitor) bootedBefore(d programs.Death) (early *guest.Exited, err error) {
	d = m.group.End(d)
	for {
		select {
		case msg, ok := <-m.control.messages:
			if !ok {
				return nil, m.crash(d)
			}
			if done, err := m.booting(msg); done || err != nil {
				m.group.Report(d)
				return msg.Exited, err
			}
		case <-time.After(portGrace):
			return nil, m.crash(d)
		}
	}
}

// crash gives the error for a death at boot. It is a crashError if the hypervisor
// crashed before its guest had said anything.
func (m *monitor) crash(d programs.Death) error {
	if d.ByFault() && !d.Server && m.report().Kernel == "" {
		return &crashError{m.blame(d)}
	}
	return m.blame(d)
}

// crashError is a boot that ended because the hypervisor itself crashed.
type crashError struct{ error }

// booting handles one message during the boot. It reports whether the boot is done.
func (m *monitor) booting(msg guest.Message) (done bool, err error) {
	switch {
	case msg.Hello != nil && m.report().Kernel != "":
		return false, errors.New("the guest greeted twice")
	case msg.Hello != nil:
		if msg.Hello.Version != guest.Version {
			return false, fmt.Errorf("the guest init speaks version %d of the protocol, the monitor %d",
				msg.Hello.Version, guest.Version)
		}
		m.log.Info("the guest greets", "kernel", printable(msg.Hello.Kernel))
		m.update(func(r *api.Report) { r.Kernel = cmp.Or(printable(msg.Hello.Kernel), "unknown") })
		m.control.send(guest.Message{Start: &guest.Start{UnixNano: time.Now().UnixNano()}})
	case msg.Started != nil, msg.Exited != nil:
		m.log.Info("the workload runs")
		m.update(func(r *api.Report) { r.State, r.StartedAt, r.Doing = drivers.Running, time.Now(), "" })
		return true, nil
	case msg.Failed != nil:
		return false, &refusal{&drivers.Error{Err: errors.New(printable(msg.Failed.Reason)), Hint: printable(msg.Failed.Hint)}}
	case msg.Seen != nil:
		m.seen(*msg.Seen)
	case msg.SeenShare != nil:
		m.seenShare(*msg.SeenShare)
	case msg.Mirror != nil:
		m.mirrored(*msg.Mirror)
	case msg.Progress != nil:
		m.update(func(r *api.Report) { r.Doing = preparing(*msg.Progress) })
	}
	return false, nil
}

// failed reports a VM whose workload never ran.
func (m *monitor) failed(ready io.WriteCloser, err error) error {
	r := api.Ready{Problem: err.Error(), Hint: drivers.HintOf(err)}
	r.Hung, r.Crashed = errors.As(err, new(*hungError)), errors.As(err, new(*crashError))
	if !errors.As(err, new(*refusal)) { // a refusal needs no console to explain it
		r.Console = strings.Join(logs.Tail(m.cfg.file(logs.ConsoleFile), consoleLines), "\n")
	}
	m.conclude(Exit{State: drivers.Dead, Reason: "the boot failed: " + err.Error()})
	if m.stdio != nil {
		m.stdio.Close()
	}
	m.tell(ready, r)
	return err
}

// refusal is an error that explains itself, such as the guest init's word on why it
// can't go on. Another try would end the same way.
type refusal struct{ said error }

func (r *refusal) Error() string { return r.said.Error() }
func (r *refusal) Unwrap() error { return r.said }

// preparing is a guest's progress in words.
func preparing(p guest.Progress) string {
	if p.Of == 0 {
		return fmt.Sprintf("preparing its root, %d files so far", p.Files)
	}
	return fmt.Sprintf("preparing its root, %d of %d files", min(p.Files, p.Of), p.Of)
}

// hungError is a boot that went past its deadline.
type hungError struct {
	deadline time.Duration
	doing    string // what the guest was doing; "" if it never told
}

func (e *hungError) Error() string {
	if e.doing != "" {
		return fmt.Sprintf("the guest got no further within %v; it was %s", e.deadline, e.doing)
	}
	return fmt.Sprintf("the guest did not boot within %v", e.deadline)
}

// tooLong refuses a boot that made progress but did not end. Another try would not
// help.
func (m *monitor) tooLong() error {
	return &refusal{&drivers.Error{
		Err: fmt.Errorf("the guest did not boot within %v; it was %s", m.cfg.LongestBoot(), cmp.Or(m.report().Doing, "still booting")),
		Hint: "give it a root of fewer files, or set OPENSHELL_BOOT_DEADLINE: a boot may take " +
			strconv.Itoa(longestBoots) + " times as long",
	}}
}
