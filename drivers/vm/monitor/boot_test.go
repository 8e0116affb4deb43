package monitor

import (
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/monitor/api"
	"openshell-vm/drivers/vm/monitor/programs"
)

// TestBootDeadline checks that the deadline counts from the last progress and that
// nothing else postpones it. A boot that makes progress for ever is ended too.
func TestBootDeadline(t *testing.T) {
	const deadline = 20 * time.Second
	seen := guest.Message{Seen: &guest.Seen{}}
	files := func(n, of uint64) guest.Message { return guest.Message{Progress: &guest.Progress{Files: n, Of: of}} }
	for name, test := range map[string]struct {
		say    func(after time.Duration) guest.Message // every second
		end    time.Duration
		hung   bool
		reason string
	}{
		"says nothing": {nil, deadline, true, "the guest did not boot within 20s"},
		"says what is no progress": {
			func(time.Duration) guest.Message { return seen },
			deadline, true, "the guest did not boot within 20s",
		},
		"gets on and hangs": {
			func(after time.Duration) guest.Message { return files(min(uint64(after.Seconds()), 50)*1000, 100_000) },
			50*time.Second + deadline, true, "the guest got no further within 20s; it was preparing its root, 50000 of 100000 files",
		},
		"says the same for ever": {
			func(time.Duration) guest.Message { return files(7, 0) },
			time.Second + deadline, true, "the guest got no further within 20s; it was preparing its root, 7 files so far",
		},
		"gets on for ever": {
			func(after time.Duration) guest.Message { return files(uint64(after), 9) },
			10 * deadline, false, "the guest did not boot within 3m20s; it was preparing its root, 9 of 9 files",
		},
		"gets on and boots": {
			func(after time.Duration) guest.Message {
				if after > 9*deadline {
					return guest.Message{Started: &guest.Started{PID: 1}}
				}
				return files(uint64(after), 0)
			}, 9*deadline + time.Second, false, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &monitor{
					cfg: Config{BootDeadline: deadline}, began: time.Now(), log: slog.New(slog.NewTextHandler(io.Discard, nil)),
					group: &programs.Group{Died: make(chan programs.Death)}, control: &control{messages: make(chan guest.Message)},
				}
				over := make(chan struct{})
				if test.say != nil {
					go func() {
						for {
							select {
							case <-over:
								return
							case <-time.After(time.Second):
							}
							select {
							case m.control.messages <- test.say(time.Since(m.began)):
							case <-over:
								return
							}
						}
					}()
				}
				_, err := m.boot()
				close(over)
				if took := time.Since(m.began); took != test.end {
					t.Errorf("it ends after %v, not %v", took, test.end)
				}
				if hung := errors.As(err, new(*hungError)); hung != test.hung || err == nil != (test.reason == "") || err != nil && !strings.Contains(err.Error(), test.reason) {
					t.Errorf("hung %v: %v", hung, err)
				}
				if doing := m.report().Doing; err == nil && doing != "" {
					t.Errorf("it runs, and is %s", doing)
				}
			})
		})
	}
}

// TestProgressIsShown asks a monitor for its report while the guest boots.
func TestProgressIsShown(t *testing.T) {
	said, seen := make(chan struct{}), make(chan struct{})
	cfg, ready, end := startMonitor(t, nil, func(g *fakeGuest) {
		g.send(guest.Message{Progress: &guest.Progress{Files: 8000, Of: 100_000}})
		close(said)
		<-seen
		g.boot()
		g.exit(0, "")
	})
	<-said // now the monitor listens
	waitFor(t, func() bool {
		r, err := ask(t, cfg, api.Request{Status: &struct{}{}})
		return err == nil && r.Doing == "preparing its root, 8000 of 100000 files"
	})
	close(seen)
	wantRunning(t, ready)
	await(t, end)
}
