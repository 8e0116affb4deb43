package monitor

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"

	"github.com/docker/go-units"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/cgroup"
)

// A VM has two cgroups: the monitor's, and the guest's with all that is the VM,
// whose tasks are counted for each program. A guest that makes its own programs
// grow loses these, and the monitor tells why; one that makes the monitor grow
// loses that, and with it all.

// What a monitor may have. Idle it has 8 MiB (measured); a session whose reader
// stands still holds 256 KiB at each of four ends, and the Go runtime lets as much
// again be garbage. So it is room for some 200 such sessions. The tasks are a Go
// program's threads: more than there are processors and blocked calls.
const (
	monitorMemory = 512 << 20
	monitorTasks  = 1024
)

// trialTasks is about what a program gets.
const trialTasks = 128

func (c Config) monitorCgroup() cgroup.Group { return c.Cgroup.Below("monitor") }
func (c Config) guestCgroup() cgroup.Group   { return c.Cgroup.Below("guest") }

// enterCgroup makes the VM's cgroups and moves the monitor into its own. Where
// that fails all goes on without any, and inspect says so.
func (m *monitor) enterCgroup() {
	if m.cfg.Cgroup == (cgroup.Group{}) {
		return
	}
	m.origin = cgroup.Own()
	if err := m.cfg.makeCgroups(); err != nil {
		m.log.Warn("the VM gets no cgroup", "error", err)
		m.leaveCgroup()
		m.cfg.NoMemoryLimit, m.cfg.Cgroup = err.Error(), cgroup.Group{}
		return
	}
	if m.cfg.Cgroup.Memory != "" {
		debug.SetMemoryLimit(monitorMemory / 4 * 3) // collect before the kernel does
	}
}

func (c Config) makeCgroups() error {
	if err := c.Cgroup.Make(cgroup.Limits{}); err != nil {
		return err
	}
	own := c.monitorCgroup()
	if err := own.Make(cgroup.Limits{Memory: monitorMemory, Tasks: monitorTasks}); err != nil {
		return err
	}
	if err := own.Enter(); err != nil {
		return err
	}
	guest := c.guestCgroup()
	limits := cgroup.Limits{Memory: c.MemoryLimit, Swap: c.Memory, Together: true}
	if err := guest.Make(limits); err != nil {
		return err
	}
	trial := cgroup.Group{Tasks: guest.Part("trial").Tasks} // as each program will have one
	return errors.Join(trial.Make(cgroup.Limits{Tasks: trialTasks}), trial.Remove())
}

// leaveCgroup goes back to where the monitor came from and removes the VM's
// cgroups. Where it came from may be gone: then they stay until the next start.
func (m *monitor) leaveCgroup() {
	if m.cfg.Cgroup == (cgroup.Group{}) {
		return
	}
	if err := errors.Join(m.origin.Enter(), m.cfg.RemoveCgroups()); err != nil {
		m.log.Info("the VM's cgroups are left", "error", err)
	}
}

// RemoveCgroups removes the VM's cgroups; a monitor that lives is in one of them,
// and they stay.
func (c Config) RemoveCgroups() error {
	if err := c.monitorCgroup().Remove(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return c.Cgroup.Remove()
}

// limitFact says, for people, what bounds the VM's memory on the host.
func (c Config) limitFact() drivers.Fact {
	value := fmt.Sprintf("%s of the host's for the guest and its programs, %s for the monitor", size(c.MemoryLimit), size(monitorMemory))
	if c.Cgroup.Memory == "" {
		value = "none on the host: " + c.NoMemoryLimit
	}
	return drivers.Fact{Name: "memory limit", Value: value}
}

// outOfMemory says why the kernel has killed a program of the VM, if it was for
// want of memory; "" if not.
func (m *monitor) outOfMemory(program string) string {
	killed, byLimit := m.cfg.guestCgroup().OutOfMemory()
	switch {
	case !killed:
		return ""
	case byLimit:
		return fmt.Sprintf("out of memory in its cgroup on this host: the guest and its programs may have %s, and the kernel killed %s",
			size(m.cfg.MemoryLimit), program)
	}
	return "this host is out of memory, and its kernel killed " + program
}

// MonitorOutOfMemory says the same of a monitor that has ended without a word.
func (c Config) MonitorOutOfMemory() string {
	killed, byLimit := c.monitorCgroup().OutOfMemory()
	switch {
	case !killed:
		return ""
	case byLimit:
		return fmt.Sprintf("out of memory in its cgroup on this host: its monitor may have %s, and the kernel killed it", size(monitorMemory))
	}
	return "this host is out of memory, and its kernel killed its monitor"
}

func size(n int64) string { return units.BytesSize(float64(n)) }
