package onrenew

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/internal/vocab"
)

// engine runs a function as its commands.
type engine struct {
	drivers.Driver
	run   func(ctx context.Context, s drivers.Streams) (int, error)
	times int
}

func (e *engine) Exec(ctx context.Context, _ string, _ drivers.Process, s drivers.Streams) (int, error) {
	e.times++
	return e.run(ctx, s)
}

func (e *engine) Signal(ctx context.Context, _ string, _ int) error {
	e.times++
	_, err := e.run(ctx, drivers.Streams{})
	return err
}

// TestTry: what a command does wrong is one line and not tried again; what the engine does wrong is,
// until the deadline.
func TestTry(t *testing.T) {
	down := errors.New("the engine does not answer")
	begun := time.Time{}
	for what, c := range map[string]struct {
		run   func(context.Context, drivers.Streams) (int, error)
		want  string // "" for none
		times int
		took  time.Duration
	}{
		"well":      {func(context.Context, drivers.Streams) (int, error) { return 0, nil }, "", 1, 0},
		"fails":     {func(context.Context, drivers.Streams) (int, error) { return 3, nil }, "its command exited with 3", 1, 0},
		"not there": {func(context.Context, drivers.Streams) (int, error) { return 127, nil }, "its command is not found inside (127)", 1, 0},
		"hangs": {func(ctx context.Context, _ drivers.Streams) (int, error) { <-ctx.Done(); return 0, ctx.Err() },
			"its command did not end within 30s, and was killed", 1, Deadline},
		"floods": {func(ctx context.Context, s drivers.Streams) (int, error) {
			for line := []byte(strings.Repeat("x", 4096)); ctx.Err() == nil; {
				if _, err := s.Stderr.Write(line); err != nil {
					return 0, err
				}
			}
			return 0, ctx.Err()
		}, "its command printed more than 1024 KiB, and was killed", 1, 0},
		"stopped": {func(context.Context, drivers.Streams) (int, error) { return 0, drivers.ErrNotRunning }, drivers.ErrNotRunning.Error(), 1, 0},
		"down":    {func(context.Context, drivers.Streams) (int, error) { return 0, down }, down.Error(), 6, Deadline},
		"down first": {func(context.Context, drivers.Streams) (int, error) {
			if time.Since(begun) < time.Second {
				return 0, down
			}
			return 0, nil
		}, "", 3, 1500 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			begun = time.Now()
			e := &engine{run: c.run}
			err := try(t.Context(), e, "id", vocab.OnRenew{Command: []string{"x"}})
			if took := time.Since(begun); e.times != c.times || took != c.took || err == nil != (c.want == "") || err != nil && err.Error() != c.want {
				t.Errorf("%s: %v, %d times in %v", what, err, e.times, took)
			}
		})
	}
	e := &engine{run: func(context.Context, drivers.Streams) (int, error) { return 0, nil }}
	if err := try(t.Context(), e, "id", vocab.OnRenew{Signal: "HUP"}); err != nil || e.times != 1 {
		t.Errorf("a signal: %v, %d times", err, e.times)
	}
	if err := try(t.Context(), struct{ drivers.Driver }{}, "id", vocab.OnRenew{Signal: "HUP"}); err == nil {
		t.Error("a driver without signals sends one")
	}
}
