package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"openshell-vm/drivers/vm/network/keeper"
	"openshell-vm/internal/procfs"
)

// A guest that does not run answers nobody, and a command that is asked of it must not wait
// for ever. A slow guest does answer: its init is asked for its clock every clockEvery.
//
//  1. A VM that a signal has stopped is told from its processes, at once.
//  2. Else, as by a frozen cgroup, it is a guest that says nothing at all for silence after
//     it was asked for something.
const (
	silence    = time.Minute            // many times clockEvery
	silentLook = 250 * time.Millisecond // how often to look
)

// listened counts what is read.
type listened struct {
	io.ReadWriteCloser
	heard atomic.Uint64
}

func (l *listened) Read(p []byte) (int, error) {
	n, err := l.ReadWriteCloser.Read(p)
	if n > 0 {
		l.heard.Add(1)
	}
	return n, err
}

// errSilent is what a client is told whose request the guest does not take up.
type errSilent struct{ why string }

func (e *errSilent) Error() string { return e.why }

// awaitGuest returns once the guest has said anything since, a number of control.port.heard.
// It returns an errSilent if the guest stands still, or the end of ctx. It counts looks, not
// time: while this process is frozen together with the VM it does not look, and no time goes by
// in which the guest could have answered.
func (m *monitor) awaitGuest(ctx context.Context, since uint64) error {
	look := time.NewTicker(silentLook)
	defer look.Stop()
	for looks := 0; m.control.port.heard.Load() == since; looks++ {
		if why := m.standsStill(); why != "" {
			return &errSilent{"the sandbox is " + why}
		}
		if looks > int(m.silence/silentLook) {
			return &errSilent{fmt.Sprintf("the guest does not answer: it has said nothing for %v", m.silence)}
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// standsStill says why the VM does not run at this moment; "" if it does, as far as is known.
func (m *monitor) standsStill() string { return m.report().Reason }

// stopped says which of the VM's processes a signal has stopped; "" if none is. pids are all of them. The
// network's is not looked at: the guest goes on without.
func stopped(pids map[string]int) string {
	for _, name := range slices.Sorted(maps.Keys(pids)) {
		if name == keeper.Process {
			continue
		}
		if s, err := procfs.ReadStat(pids[name]); err == nil && s.State == "T" {
			return fmt.Sprintf("stopped: a signal has stopped %s, process %d; kill -CONT %d lets it go on", name, pids[name], pids[name])
		}
	}
	return ""
}

// isSilent returns what to tell a client whose session ctx ended for that reason.
func isSilent(ctx context.Context) (*errSilent, bool) {
	var silent *errSilent
	return silent, errors.As(context.Cause(ctx), &silent)
}
