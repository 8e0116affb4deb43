package monitor

import (
	"io"
	"log/slog"
	"strings"
	"testing"

	"openshell-vm/drivers/vm/cgroup"
	"openshell-vm/drivers/vm/monitor/programs"
)

// TestNoCgroup runs the cgroup functions for a VM without a cgroup: an older gateway
// started it, or the host has no place for one. The functions do nothing then.
func TestNoCgroup(t *testing.T) {
	m := &monitor{group: programs.New(), cfg: Config{NoMemoryLimit: "no room"}, log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	m.enterCgroup()
	if err := m.cfg.RemoveCgroups(); err != nil {
		t.Error(err)
	}
	if why := m.cfg.MonitorOutOfMemory() + m.group.OutOfMemory("qemu"); why != "" {
		t.Errorf("it is out of memory: %s", why)
	}
	if fact := m.cfg.limitFact(); fact.Value != "none on the host: no room" {
		t.Errorf("inspect tells %v", fact)
	}
	m.leaveCgroup()
}

// TestCgroupThatFails checks that a VM runs without its cgroup if that can't be made,
// and that inspect says why.
func TestCgroupThatFails(t *testing.T) {
	nowhere := t.TempDir() + "/none/vm"
	m := &monitor{
		cfg: Config{Cgroup: cgroup.Group{Memory: nowhere, Tasks: nowhere}, MemoryLimit: 1 << 30},
		log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	m.enterCgroup()
	if m.cfg.Cgroup != (cgroup.Group{}) {
		t.Errorf("it goes on with %+v", m.cfg.Cgroup)
	}
	if fact := m.cfg.limitFact(); !strings.HasPrefix(fact.Value, "none on the host: ") || !strings.Contains(fact.Value, nowhere) {
		t.Errorf("inspect tells %v", fact)
	}
}
