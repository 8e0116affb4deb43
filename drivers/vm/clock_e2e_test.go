//go:build e2e

package vm

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"openshell-vm/drivers"
)

// TestAStalledGuestIsOnTimeAgain stops a hypervisor for a minute, as a debugger or an overloaded
// host may do. By then an emulated guest's clock source has wrapped around, and the guest does
// not notice.
func TestAStalledGuestIsOnTimeAgain(t *testing.T) {
	t.Parallel()
	d, spec := place(t)
	spec = up(t, d, spec, "sleep 1000")
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	before := guestOff(t, ctx, d, spec.ID)

	qemu := processes(t, d, spec.ID)["qemu"]
	if err := syscall.Kill(qemu, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Minute) // it is the stall's length that matters
	if err := syscall.Kill(qemu, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}

	first, deadline := guestOff(t, ctx, d, spec.ID), time.Now().Add(patience)
	off := first
	for off.Abs() > time.Second && time.Now().Before(deadline) {
		off = guestOff(t, ctx, d, spec.ID)
	}
	t.Logf("the guest's clock: %v before the stall, %v right after it, %v within %v", before, first, off, time.Until(deadline))
	if off.Abs() > time.Second {
		t.Errorf("the guest's clock is off by %v", off)
	}
}

// guestOff returns by how much a guest's clock is off at least, in whole seconds. The exec that
// asks takes time, so it can't be told better.
func guestOff(t *testing.T, ctx context.Context, d *Driver, id string) time.Duration {
	t.Helper()
	var out bytes.Buffer
	asked := time.Now().Truncate(time.Second)
	code, err := d.Exec(ctx, id, drivers.Process{Args: []string{"date", "+%s"}}, drivers.Streams{Stdout: &out})
	answered := time.Now()
	if code != 0 || err != nil {
		t.Fatalf("date: %d, %v", code, err)
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(out.String()), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	switch read := time.Unix(seconds, 0); {
	case read.Before(asked):
		return read.Sub(asked)
	case read.After(answered):
		return read.Sub(answered)
	}
	return 0
}
