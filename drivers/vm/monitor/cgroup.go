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

// A VM has two cgroups: one for the monitor, and one for the guest and all its
// programs. In the second, tasks are limited for each program. When the guest's
// programs grow past their limit, the kernel kills them and the monitor tells why. When
// a guest makes the monitor grow past its limit, the kernel kills the monitor, and the
// VM dies with it.

// Limits of a monitor. Idle it has 8 MiB (measured). A session whose reader stands
// still holds 256 KiB at each of four ends, and the Go runtime lets as much again be
// garbage, so there is room for about 200 such sessions. The tasks are the threads of
// a Go program: more than processors and blocked calls together.
const (
	monitorMemory = 512 << 20
	monitorTasks  = 1024
)

// trialTasks is about as many tasks as a program gets.
const trialTasks = 128

func (c Config) monitorCgroup() cgroup.Group { return c.Cgroup.Below("monitor") }
func (c Config) guestCgroup() cgroup.Group   { return c.Cgroup.Below("guest") }

// enterCgroup makes the VM's cgroups and moves the monitor into its own. If that
// fails, the VM runs without cgroups, and inspect says so.
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
		debug.SetMemoryLimit(monitorMemory / 4 * 3) // collect garbage before the kernel kills
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
	trial := cgroup.Group{Tasks: guest.Part("trial").Tasks} // each program will have one like it
	return errors.Join(trial.Make(cgroup.Limits{Tasks: trialTasks}), trial.Remove())
}

// leaveCgroup moves the monitor back to the cgroup that it was started in, and removes
// the VM's cgroups. If that first cgroup is gone, they stay until the next start.
func (m *monitor) leaveCgroup() {
	if m.cfg.Cgroup == (cgroup.Group{}) {
		return
	}
	if err := errors.Join(m.origin.Enter(), m.cfg.RemoveCgroups()); err != nil {
		m.log.Info("the VM's cgroups are left", "error", err)
	}
}

// RemoveCgroups removes the VM's cgroups, and ends what is left in them: a hostile program can undo
// that it dies with the monitor. It fails while a living monitor is in one of them.
func (c Config) RemoveCgroups() error {
	if err := c.monitorCgroup().Remove(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	c.Cgroup.Kill()
	return c.Cgroup.Remove()
}

// limitFact tells people what bounds the VM's memory on the host.
func (c Config) limitFact() drivers.Fact {
	value := fmt.Sprintf("%s of the host's for the guest and its programs, %s for the monitor", size(c.MemoryLimit), size(monitorMemory))
	if c.Cgroup.Memory == "" {
		value = "none on the host: " + c.NoMemoryLimit
	}
	return drivers.Fact{Name: "memory limit", Value: value}
}

// MonitorOutOfMemory explains the end of a monitor without an exit status. It is "" if the
// kernel did not kill it for want of memory.
func (c Config) MonitorOutOfMemory() string {
	killed, byLimit := c.monitorCgroup().OutOfMemory()
	switch {
	case !killed:
		return ""
	case byLimit:
		return fmt.Sprintf("out of memory in its cgroup on this host: its monitor may have %s, and the kernel killed it",
			size(monitorMemory))
	}
	return "this host is out of memory, and its kernel killed its monitor"
}

func size(n int64) string { return units.BytesSize(float64(n)) }
