//go:build e2e

package vm

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/testhost"
	"openshell-vm/drivers/vm/cgroup"
	"openshell-vm/drivers/vm/monitor"
)

// eater is a shell that doubles a word until it is killed. %s stands for its cgroup's
// directories.
const eater = `for dir in %s; do echo $$ >$dir/cgroup.procs || exit 9; done; word=0123456789abcdef; while :; do word=$word$word; done`

// eat runs an eater in a group of a VM. The kernel has to kill the victim there. stop ends the
// eater.
func eat(t *testing.T, g cgroup.Group, victim int) (stop func()) {
	t.Helper()
	score := "/proc/" + strconv.Itoa(victim) + "/oom_score_adj"
	if err := os.WriteFile(score, []byte("1000"), 0); err != nil {
		t.Fatal(err)
	}
	dirs := strings.Join(g.Dirs(), " ")
	cmd := exec.Command("bash", "-c", strings.Replace(eater, "%s", dirs, 1))
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		cmd.Process.Kill()
		if err := cmd.Wait(); err != nil && strings.Contains(err.Error(), "exit status 9") {
			t.Error("the eater did not get into the group")
		}
	})
	t.Cleanup(stop)
	return stop
}

// another makes a second sandbox of the driver.
func another(t *testing.T, d *Driver, spec drivers.Spec) drivers.Spec {
	t.Helper()
	spec.ID += "b"
	spec.Dir = filepath.Join(d.cfg.SandboxesDir, spec.ID)
	return spec
}

// TestOutOfTheHostsMemory lets a VM's programs, and then its monitor, reach the limit of their
// cgroup. The VM has to end and to say so, another VM has to go on, nothing may be left, and
// both have to start again.
func TestOutOfTheHostsMemory(t *testing.T) {
	if p := cgroup.Here(); p.Memory == "" {
		testhost.Missing(t, "no memory can be limited here: %v", p.NoMemory)
	}
	d, spec := place(t)
	spec.Memory, spec.CPUs = 128<<20, 1
	other := up(t, d, another(t, d, spec), "sleep 1000")
	spec = up(t, d, spec, "sleep 1000")
	cfg, err := monitor.ReadConfig(spec.Dir)
	if err != nil {
		t.Fatal(err)
	}
	told := false
	for _, fact := range expectState(t, d, spec.ID, drivers.Running).Details {
		told = told || fact.Name == "memory limit" && strings.Contains(fact.Value, "for the guest and its programs")
	}
	if !told {
		t.Error("inspect does not tell the limit")
	}

	stop := eat(t, guestPart(cfg), processes(t, d, spec.ID)["qemu"])
	dies(t, d, spec.ID, "out of memory in its cgroup on this host: the guest and its programs may have ")
	stop()

	start(t, d, spec.ID)
	if cfg, err = monitor.ReadConfig(spec.Dir); err != nil {
		t.Fatal(err)
	}
	stop = eat(t, cfg.Cgroup.Below("monitor"), processes(t, d, spec.ID)["monitor"])
	dies(t, d, spec.ID, "out of memory in its cgroup on this host: its monitor may have 512MiB")
	stop()
	start(t, d, spec.ID)
	expectState(t, d, spec.ID, drivers.Running)

	expectState(t, d, other.ID, drivers.Running)
	if code, err := d.Exec(t.Context(), other.ID, drivers.Process{Args: []string{"true"}}, drivers.Streams{}); code != 0 || err != nil {
		t.Errorf("the other VM: %d, %v", code, err)
	}
	if err := d.Stop(t.Context(), other.ID, 0); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, other)
	if err := d.Remove(t.Context(), spec.ID); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, spec)
}

func nothingLeft(t *testing.T, spec drivers.Spec) {
	t.Helper()
	if left := cgroupsOf(cgroupName(&monitor.Config{ID: spec.ID, Dir: spec.Dir})); len(left) > 0 {
		t.Errorf("cgroups are left: %v", left)
	}
}

// guestPart returns the group in which the VM's program qemu is.
func guestPart(cfg monitor.Config) cgroup.Group { return cfg.Cgroup.Below("guest").Part("qemu") }

func dies(t *testing.T, d *Driver, id, why string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := d.Wait(ctx, id); err != nil {
		t.Fatal(err)
	}
	s := expectState(t, d, id, drivers.Dead)
	t.Log(s.Reason)
	if !strings.HasPrefix(s.Reason, why) {
		t.Errorf("the reason is %q", s.Reason)
	}
}

func start(t *testing.T, d *Driver, id string) {
	t.Helper()
	if err := d.Start(t.Context(), id); err != nil {
		t.Fatal(err, drivers.HintOf(err))
	}
}

// TestKilledMonitorsCgroups kills a monitor. Its cgroups have to go with the sandbox.
func TestKilledMonitorsCgroups(t *testing.T) {
	d, spec := place(t)
	spec.Memory, spec.CPUs = 128<<20, 1
	spec = up(t, d, spec, "sleep 1000")
	if err := killMonitor(t.Context(), spec.Dir); err != nil {
		t.Fatal(err)
	}
	s := expectState(t, d, spec.ID, drivers.Dead)
	if !strings.HasPrefix(s.Reason, "its monitor ended without an exit status") {
		t.Errorf("the reason is %q", s.Reason)
	}
	start(t, d, spec.ID)
	if err := killMonitor(t.Context(), spec.Dir); err != nil {
		t.Fatal(err)
	}
	if err := d.Remove(t.Context(), spec.ID); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, spec)
}
