package driverstest

import (
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/capture"
)

// Overhead runs a short workload by the driver and by the engine's own command
// in turn, twenty times each, and fails when the driver's median is slower by
// more than 15 % or 100 ms, whichever is more. baseline is that command with
// its arguments up to the workload's.
func Overhead(t *testing.T, h Harness, baseline []string) {
	const pairs = 20
	s := newSuite(t, h)
	workload := []string{"echo", "hello"}
	var ours, theirs []time.Duration
	for range pairs {
		begin := time.Now()
		if out, err := exec.CommandContext(t.Context(), baseline[0], append(slices.Clone(baseline[1:]), workload...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", baseline, err, out)
		}
		theirs = append(theirs, time.Since(begin))

		b := s.prepare(t, func(b *box) { b.spec.Process.Args, b.spec.Mounts = workload, nil })
		begin = time.Now()
		runToEnd(t, b)
		ours = append(ours, time.Since(begin))
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	driver, command := ours[pairs/2], theirs[pairs/2]
	t.Logf("%s: %d ms by the driver, %d ms by %s run, median of %d", h.Name, driver.Milliseconds(), command.Milliseconds(), filepath.Base(baseline[0]), pairs)
	if allowed := max(100*time.Millisecond, command*15/100); driver-command > allowed {
		t.Errorf("the driver is slower by %v, %v are allowed", driver-command, allowed)
	}
}

// runToEnd does what `run --rm` does: create, attach, start, wait, remove.
func runToEnd(t *testing.T, b *box) {
	t.Helper()
	spec, _, err := b.driver.Resolve(t.Context(), b.spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.driver.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	var out capture.Buffer
	code := make(chan int, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	go func() {
		c, err := b.driver.(drivers.Attacher).Attach(ctx, b.id, false, drivers.Streams{Stdout: &out, Stderr: &out})
		if err != nil {
			t.Errorf("attach: %v", err)
		}
		code <- c
	}()
	time.Sleep(5 * time.Millisecond) // Attach can't say that it has begun
	b.start()
	if c := <-code; c != 0 || out.String() != "hello\n" {
		t.Fatalf("code %d, output %q", c, out.String())
	}
	if err := b.driver.Remove(t.Context(), b.id); err != nil {
		t.Fatal(err)
	}
}
