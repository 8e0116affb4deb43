package main

import (
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/guest"
)

// TestStopWithoutGrace checks that a kill sends no SIGTERM first: the workload could end
// by that.
func TestStopWithoutGrace(t *testing.T) {
	for _, c := range []struct {
		grace time.Duration
		want  []unix.Signal
	}{
		{0, []unix.Signal{unix.SIGKILL}},
		{time.Nanosecond, []unix.Signal{unix.SIGTERM, unix.SIGKILL}},
	} {
		ours, theirs := hostOf(t)
		stdio, err := ours.Open()
		if err != nil {
			t.Fatal(err)
		}
		workload, err := theirs.Accept(stdio.ID())
		if err != nil {
			t.Fatal(err)
		}
		s := newSupervisor(&host{workload: workload}, nil, nil, guest.BootSpec{})
		s.message(0, guest.Message{Stop: &guest.Stop{GraceNano: int64(c.grace)}})
		var got []unix.Signal
		for range c.want {
			got = append(got, unix.Signal(<-s.workload.asked))
		}
		if !slices.Equal(got, c.want) || len(s.workload.asked) > 0 {
			t.Errorf("a grace of %v: %v, and %d more; wanted %v", c.grace, got, len(s.workload.asked), c.want)
		}
	}
}
