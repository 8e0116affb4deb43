package driverstest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/fixture"
)

// idempotent: each request is made again, in each state. Before the last start the memory is
// changed, where the driver can do that.
func idempotent(t *testing.T, s *fixture.Suite) string {
	b := s.Box(t, nil)
	b.Stop(time.Second) // never started
	if err := b.Driver.Create(t.Context(), b.Spec); !errors.Is(err, drivers.ErrExists) {
		t.Errorf("created twice: %v", err)
	}
	for i := range 3 {
		if i == 2 {
			changeMemory(b)
		}
		b.Start()
		b.Start()
		if got := b.Inspect().State; got != drivers.Running {
			t.Fatalf("%s after a start", got)
		}
		if i == 2 {
			seesMemory(b)
		}
		b.Stop(10 * time.Second)
		b.Stop(10 * time.Second)
		if got := b.Inspect().State; got == drivers.Running || got == drivers.Created {
			t.Fatalf("%s after a stop", got)
		}
	}
	b.Start()
	for range 2 { // the first while it runs
		if err := b.Driver.Remove(t.Context(), b.ID); err != nil {
			t.Fatalf("remove: %v", err)
		}
		if _, err := b.Driver.Inspect(t.Context(), b.ID); !errors.Is(err, drivers.ErrNotFound) {
			t.Fatalf("inspect after a remove: %v", err)
		}
	}
	if !fixture.Exists(b.Share.AuthDir()) {
		t.Error("the share went with the sandbox")
	}
	return ""
}

// changeMemory gives the sandbox more memory, which it has after its next start.
func changeMemory(b *fixture.Box) {
	b.T.Helper()
	updater, ok := b.Driver.(drivers.Updater)
	if !ok {
		return
	}
	spec := b.Spec
	spec.Memory = max(spec.Memory, 64<<20) + 64<<20
	if _, err := updater.Update(b.T.Context(), spec); err == nil {
		b.Spec = spec
	} else if drivers.HintOf(err) == "" {
		b.T.Errorf("update: %v", err)
	}
}

// seesMemory wants the workload to have the memory of the spec: by its cgroup's limit in a
// container, and by what its kernel found in a VM, which takes some of it for itself.
func seesMemory(b *fixture.Box) {
	b.T.Helper()
	if b.Spec.Memory == 0 {
		return
	}
	const script = `cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null || true; ` +
		`while read name kib _; do [ $name = MemTotal: ] && echo $((kib * 1024)); done </proc/meminfo`
	lines, code := b.Exec(drivers.Process{Args: []string{"/bin/sh", "-c", script}}, false).Rest()
	for _, line := range lines {
		n, err := strconv.ParseInt(line, 10, 64)
		if err == nil && n <= b.Spec.Memory && n > b.Spec.Memory*3/4 {
			return
		}
	}
	b.T.Errorf("it should have %d bytes of memory and has %v (exit code %d)", b.Spec.Memory, lines, code)
}

// engineRestarted: a crash of the engine may end the sandbox, and costs nothing more.
func engineRestarted(t *testing.T, s *fixture.Suite) string {
	if s.RestartEngine == nil {
		return fixture.NotApplicable + "there is no engine beside the sandbox's own processes"
	}
	b := s.Box(t, func(b *fixture.Box) { b.Runs("watch", drivers.AuthDir) })
	b.Run(false).Expect("1 ok")
	s.RestartEngine(t)
	state := b.Inspect().State
	n, _ := b.Publish()
	if state == drivers.Running {
		client := b.Attach(true, false)
		client.Expect(fmt.Sprintf("%d ok", n))
	}
	b.Start()
	n, _ = b.Publish()
	client := b.Attach(true, false)
	client.Expect(fmt.Sprintf("%d ok", n))
	return fmt.Sprintf("%s after the crash", state)
}

// removedBehind: a sandbox that somebody else removed is reported as gone, and can be
// made again.
func removedBehind(t *testing.T, s *fixture.Suite) string {
	if s.RemoveBehind == nil {
		return fixture.NotApplicable + "nothing but the driver can remove it"
	}
	b := s.Box(t, nil)
	b.Start()
	s.RemoveBehind(t, b.ID)
	if _, err := b.Driver.Inspect(t.Context(), b.ID); !errors.Is(err, drivers.ErrNotFound) {
		t.Errorf("inspect: %v", err)
	}
	if err := b.Driver.Start(t.Context(), b.ID); !errors.Is(err, drivers.ErrNotFound) {
		t.Errorf("start: %v", err)
	}
	if list, err := b.Driver.List(t.Context()); err != nil || find(list, b.ID) != nil {
		t.Errorf("it is still listed: %v", err)
	}
	if err := b.Driver.Create(t.Context(), b.Spec); err != nil {
		t.Fatalf("made again: %v", err)
	}
	b.Run(false).Expect("ready")
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
func recordsLost(t *testing.T, s *fixture.Suite) string {
	running, created := s.Box(t, nil), s.Box(t, nil)
	running.Run(false).Expect("ready")
	fresh := s.New(s.Gateway)
	list, err := fresh.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for b, state := range map[*fixture.Box]drivers.State{running: drivers.Running, created: drivers.Created} {
		found := find(list, b.ID)
		if found == nil {
			t.Fatalf("%s is not listed", b.ID)
		}
		if found.State != state || found.Name != b.Spec.Name {
			t.Errorf("%s: %s %q, wanted %s %q", b.ID, found.State, found.Name, state, b.Spec.Name)
		}
		if found.Spec == nil || found.Spec.Auth != b.Spec.Auth || !slices.Equal(found.Spec.Mounts, b.Spec.Mounts) ||
			!slices.Equal(found.Spec.Process.Args, b.Spec.Process.Args) {
			t.Errorf("%s: the spec came back as %+v", b.ID, found.Spec)
		}
	}
	if err := fresh.Stop(t.Context(), running.ID, 10*time.Second); err != nil {
		t.Errorf("stop by the new gateway: %v", err)
	}
	if s.RestartEngine != nil { // an engine is shared between gateways, a state directory is not
		other := s.New(fixture.NewID())
		if list, err := other.List(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("another gateway lists %d sandboxes, error %v", len(list), err)
		}
		if _, err := other.Inspect(t.Context(), running.ID); !errors.Is(err, drivers.ErrNotFound) {
			t.Errorf("another gateway inspects it: %v", err)
		}
	}
	return ""
}
