package driverstest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"openshell-vm/drivers"
)

// idempotent: each request is made again, in each state. Before the last start the memory is
// changed, where the driver can do that.
func idempotent(t *testing.T, s *suite) string {
	b := s.box(t, nil)
	b.stop(time.Second) // never started
	if err := b.driver.Create(t.Context(), b.spec); !errors.Is(err, drivers.ErrExists) {
		t.Errorf("created twice: %v", err)
	}
	for i := range 3 {
		if i == 2 {
			b.changeMemory()
		}
		b.start()
		b.start()
		if got := b.inspect().State; got != drivers.Running {
			t.Fatalf("%s after a start", got)
		}
		if i == 2 {
			b.seesMemory()
		}
		b.stop(10 * time.Second)
		b.stop(10 * time.Second)
		if got := b.inspect().State; got == drivers.Running || got == drivers.Created {
			t.Fatalf("%s after a stop", got)
		}
	}
	b.start()
	for range 2 { // the first while it runs
		if err := b.driver.Remove(t.Context(), b.id); err != nil {
			t.Fatalf("remove: %v", err)
		}
		if _, err := b.driver.Inspect(t.Context(), b.id); !errors.Is(err, drivers.ErrNotFound) {
			t.Fatalf("inspect after a remove: %v", err)
		}
	}
	if !exists(b.share.AuthDir()) {
		t.Error("the share went with the sandbox")
	}
	return ""
}

// changeMemory gives the sandbox more memory, which it has after its next start.
func (b *box) changeMemory() {
	b.t.Helper()
	updater, ok := b.driver.(drivers.Updater)
	if !ok {
		return
	}
	spec := b.spec
	spec.Memory = max(spec.Memory, 64<<20) + 64<<20
	if _, err := updater.Update(b.t.Context(), spec); err == nil {
		b.spec = spec
	} else if drivers.HintOf(err) == "" {
		b.t.Errorf("update: %v", err)
	}
}

// seesMemory wants the workload to have the memory of the spec: by its cgroup's limit in a
// container, and by what its kernel found in a VM, which takes some of it for itself.
func (b *box) seesMemory() {
	b.t.Helper()
	if b.spec.Memory == 0 {
		return
	}
	const script = `cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null || true; ` +
		`while read name kib _; do [ $name = MemTotal: ] && echo $((kib * 1024)); done </proc/meminfo`
	lines, code := b.exec(drivers.Process{Args: []string{"/bin/sh", "-c", script}}, false).rest()
	for _, line := range lines {
		n, err := strconv.ParseInt(line, 10, 64)
		if err == nil && n <= b.spec.Memory && n > b.spec.Memory*3/4 {
			return
		}
	}
	b.t.Errorf("it should have %d bytes of memory and has %v (exit code %d)", b.spec.Memory, lines, code)
}

// engineRestarted: a crash of the engine may end the sandbox, and costs nothing more.
func engineRestarted(t *testing.T, s *suite) string {
	if s.RestartEngine == nil {
		return notApplicable + "there is no engine beside the sandbox's own processes"
	}
	b := s.box(t, func(b *box) { b.runs("watch", drivers.AuthDir) })
	b.run(false).expect("1 ok")
	s.RestartEngine(t)
	state := b.inspect().State
	n, _ := b.publish()
	if state == drivers.Running {
		client := b.attach(true, false)
		client.expect(fmt.Sprintf("%d ok", n))
	}
	b.start()
	n, _ = b.publish()
	client := b.attach(true, false)
	client.expect(fmt.Sprintf("%d ok", n))
	return fmt.Sprintf("%s after the crash", state)
}

// removedBehind: a sandbox that somebody else removed is reported as gone, and can be
// made again.
func removedBehind(t *testing.T, s *suite) string {
	if s.RemoveBehind == nil {
		return notApplicable + "nothing but the driver can remove it"
	}
	b := s.box(t, nil)
	b.start()
	s.RemoveBehind(t, b.id)
	if _, err := b.driver.Inspect(t.Context(), b.id); !errors.Is(err, drivers.ErrNotFound) {
		t.Errorf("inspect: %v", err)
	}
	if err := b.driver.Start(t.Context(), b.id); !errors.Is(err, drivers.ErrNotFound) {
		t.Errorf("start: %v", err)
	}
	if list, err := b.driver.List(t.Context()); err != nil || find(list, b.id) != nil {
		t.Errorf("it is still listed: %v", err)
	}
	if err := b.driver.Create(t.Context(), b.spec); err != nil {
		t.Fatalf("made again: %v", err)
	}
	b.run(false).expect("ready")
	return ""
}

func find(list []drivers.Status, id string) *drivers.Status {
	for i := range list {
		if list[i].ID == id {
			return &list[i]
		}
	}
	return nil
}

// recordsLost: a new driver lists the gateway's sandboxes, with all that a new record
// needs. Another gateway's driver does not see them.
func recordsLost(t *testing.T, s *suite) string {
	running, created := s.box(t, nil), s.box(t, nil)
	running.run(false).expect("ready")
	fresh := s.New(s.gateway)
	list, err := fresh.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for b, state := range map[*box]drivers.State{running: drivers.Running, created: drivers.Created} {
		found := find(list, b.id)
		if found == nil {
			t.Fatalf("%s is not listed", b.id)
		}
		if found.State != state || found.Name != b.spec.Name {
			t.Errorf("%s: %s %q, wanted %s %q", b.id, found.State, found.Name, state, b.spec.Name)
		}
		if found.Spec == nil || found.Spec.Auth != b.spec.Auth || !slices.Equal(found.Spec.Mounts, b.spec.Mounts) ||
			!slices.Equal(found.Spec.Process.Args, b.spec.Process.Args) {
			t.Errorf("%s: the spec came back as %+v", b.id, found.Spec)
		}
	}
	if err := fresh.Stop(t.Context(), running.id, 10*time.Second); err != nil {
		t.Errorf("stop by the new gateway: %v", err)
	}
	if s.RestartEngine != nil { // an engine is shared between gateways, a state directory is not
		other := s.New(newID())
		if list, err := other.List(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("another gateway lists %d sandboxes, error %v", len(list), err)
		}
		if _, err := other.Inspect(t.Context(), running.id); !errors.Is(err, drivers.ErrNotFound) {
			t.Errorf("another gateway inspects it: %v", err)
		}
	}
	return ""
}
