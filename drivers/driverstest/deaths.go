package driverstest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/search"
	"openshell-vm/internal/procfs"
)

// Deaths kills each process of a VM in turn, its monitor too, and lets the guest
// run out of memory. The state must say what happened, nothing of the VM may be
// left, and the next start must find what was published meanwhile.
func Deaths(t *testing.T, h Harness) {
	s := newSuite(t, h)
	b := s.box(t, func(b *box) { b.runs("hold") })
	b.start()
	for _, victim := range slices.Sorted(maps.Keys(b.processes())) {
		t.Run(victim, func(t *testing.T) { s.killed(t, victim) })
	}
	t.Run("guest memory", s.outOfMemory)
}

func (s *suite) killed(t *testing.T, victim string) {
	b := s.box(t, func(b *box) { b.runs("watch", drivers.AuthDir) })
	b.run(false).expect("1 ok")
	pids := b.processes()
	if err := syscall.Kill(pids[victim], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	b.gone(pids)
	status := b.ended()
	t.Logf("%s killed: %s, %s", victim, status.State, status.Reason)
	if status.State != drivers.Dead || !strings.Contains(status.Reason, victim) {
		t.Errorf("state %q (%s)", status.State, status.Reason)
	}
	n, _ := b.publish()
	b.run(false).expect(fmt.Sprintf("%d ok", n))
}

// outOfMemory: the guest's kernel kills the workload that takes all memory. It takes the
// shell's place: a killed child would leave the shell alive.
func (s *suite) outOfMemory(t *testing.T) {
	b := s.box(t, func(b *box) { b.shell("exec tail /dev/zero") })
	b.start()
	pids := b.processes()
	status := b.ended()
	t.Logf("out of memory: %s, %d, %s", status.State, status.ExitCode, status.Reason)
	if status.State != drivers.Exited || status.ExitCode != 128+int(syscall.SIGKILL) || !strings.Contains(status.Reason, "memory") {
		t.Errorf("state %q (%s), code %d", status.State, status.Reason, status.ExitCode)
	}
	b.gone(pids)
}

// EachProcess calls look for each process on the host of a running sandbox,
// whose directory is dir.
func EachProcess(t *testing.T, h Harness, look func(t *testing.T, dir, name string, pid int)) {
	s := newSuite(t, h)
	b := s.box(t, nil)
	b.run(false).expect("ready")
	for name, pid := range b.processes() {
		t.Run(name, func(t *testing.T) { look(t, b.spec.Dir, name, pid) })
	}
}

// HungBoot wants a guest to be given up that does not get to its workload in time. The
// drivers of h must give it less time than any guest needs.
func HungBoot(t *testing.T, h Harness) {
	s := newSuite(t, h)
	b := s.box(t, nil)
	err := b.driver.Start(t.Context(), b.id)
	Refused(t, err, "did not boot within")
	status := b.inspect()
	t.Logf("hung: %s, %s", status.State, status.Reason)
	if status.State != drivers.Dead {
		t.Errorf("state %q", status.State)
	}
	b.gone(nil)
}

// gone waits until none of the processes runs, and no process of the host has the
// sandbox in its arguments or among its mounts.
func (b *box) gone(pids map[string]int) {
	b.t.Helper()
	b.s.eventually(b.t, func() error {
		for name, pid := range pids {
			if procfs.Runs(pid) {
				return fmt.Errorf("%s (%d) is left", name, pid)
			}
		}
		if left := search.Processes(b.t, []string{b.id}, "cmdline", "mountinfo"); len(left) > 0 {
			return fmt.Errorf("the sandbox is still in %v", left)
		}
		return nil
	})
}
