package driverstest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/fixture"
	"openshell-vm/drivers/driverstest/search"
	"openshell-vm/internal/procfs"
)

// Deaths kills each process of a VM in turn, its monitor too, and lets the guest
// run out of memory. The state must say what happened, nothing of the VM may be
// left, and the next start must find what was published meanwhile.
func Deaths(t *testing.T, h fixture.Harness) {
	s := fixture.NewSuite(t, h)
	b := s.Box(t, func(b *fixture.Box) { b.Runs("hold") })
	b.Start()
	for _, victim := range slices.Sorted(maps.Keys(processes(b))) {
		t.Run(victim, func(t *testing.T) { killed(s, t, victim) })
	}
	t.Run("guest memory", func(t *testing.T) { outOfMemory(s, t) })
}

func killed(s *fixture.Suite, t *testing.T, victim string) {
	b := s.Box(t, func(b *fixture.Box) { b.Runs("watch", drivers.AuthDir) })
	b.Run(false).Expect("1 ok")
	pids := processes(b)
	if err := syscall.Kill(pids[victim], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	gone(b, pids)
	status := b.Ended()
	t.Logf("%s killed: %s, %s", victim, status.State, status.Reason)
	if status.State != drivers.Dead || !strings.Contains(status.Reason, victim) {
		t.Errorf("state %q (%s)", status.State, status.Reason)
	}
	n, _ := b.Publish()
	b.Run(false).Expect(fmt.Sprintf("%d ok", n))
}

// outOfMemory: the guest's kernel kills the workload that takes all memory. It takes the
// shell's place: a killed child would leave the shell alive.
func outOfMemory(s *fixture.Suite, t *testing.T) {
	b := s.Box(t, func(b *fixture.Box) { b.Shell("exec tail /dev/zero") })
	b.Start()
	pids := processes(b)
	status := b.Ended()
	t.Logf("out of memory: %s, %d, %s", status.State, status.ExitCode, status.Reason)
	if status.State != drivers.Exited || status.ExitCode != 128+int(syscall.SIGKILL) || !strings.Contains(status.Reason, "memory") {
		t.Errorf("state %q (%s), code %d", status.State, status.Reason, status.ExitCode)
	}
	gone(b, pids)
}

// EachProcess calls look for each process on the host of a running sandbox,
// whose directory is dir.
func EachProcess(t *testing.T, h fixture.Harness, look func(t *testing.T, dir, name string, pid int)) {
	s := fixture.NewSuite(t, h)
	b := s.Box(t, nil)
	b.Run(false).Expect("ready")
	for name, pid := range processes(b) {
		t.Run(name, func(t *testing.T) { look(t, b.Spec.Dir, name, pid) })
	}
}

// HungBoot wants a guest to be given up that does not get to its workload in time. The
// drivers of h must give it less time than any guest needs.
func HungBoot(t *testing.T, h fixture.Harness) {
	s := fixture.NewSuite(t, h)
	b := s.Box(t, nil)
	err := b.Driver.Start(t.Context(), b.ID)
	Refused(t, err, "did not boot within")
	status := b.Inspect()
	t.Logf("hung: %s, %s", status.State, status.Reason)
	if status.State != drivers.Dead {
		t.Errorf("state %q", status.State)
	}
	gone(b, nil)
}

// gone waits until none of the processes runs, and no process of the host has the
// sandbox in its arguments or among its mounts.
func gone(b *fixture.Box, pids map[string]int) {
	b.T.Helper()
	b.Suite.Eventually(b.T, func() error {
		for name, pid := range pids {
			if procfs.Runs(pid) {
				return fmt.Errorf("%s (%d) is left", name, pid)
			}
		}
		if left := search.Processes(b.T, []string{b.ID}, "cmdline", "mountinfo"); len(left) > 0 {
			return fmt.Errorf("the sandbox is still in %v", left)
		}
		return nil
	})
}
