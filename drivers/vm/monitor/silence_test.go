package monitor

import (
	"context"
	"log/slog"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/monitor/api"
	"openshell-vm/drivers/vm/network/keeper"
	"openshell-vm/internal/stream"
)

// execIn runs a command in the guest of a monitor.
func execIn(t *testing.T, cfg Config) error {
	t.Helper()
	c, err := api.Dial(cfg.RunDir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err = c.Stream(ctx, api.StreamRequest{Exec: &api.ExecRequest{Process: drivers.Process{Args: []string{"true"}}}}, drivers.Streams{})
	return err
}

// TestSilentGuest: a command for a guest that says nothing ends with a line.
func TestSilentGuest(t *testing.T) {
	cfg, ready, _ := startMonitor(t, nil, func(g *fakeGuest) {
		g.monitor.silence = time.Second
		g.boot()
		g.until(func(guest.Message) bool { return false })
	})
	wantRunning(t, ready)
	defer ask(t, cfg, api.Request{Stop: &api.StopRequest{Grace: -1}})
	if err := execIn(t, cfg); err == nil || err.Error() != "the guest does not answer: it has said nothing for 1s" {
		t.Errorf("%v", err)
	}
}

// TestSlowGuest: a guest that needs long for a command and does answer else is no silent one.
func TestSlowGuest(t *testing.T) {
	cfg, ready, _ := startMonitor(t, nil, func(g *fakeGuest) {
		g.monitor.silence = time.Second
		g.boot()
		for {
			f, m, err := g.next()
			if err != nil {
				return
			}
			if m.Exec != nil {
				g.send(guest.Message{Clock: &guest.Clock{Number: 1 << 60}})
				time.Sleep(3 * g.monitor.silence)
				g.ctl.Write(stream.Exit, f.Session, stream.EncodeExit(0))
			}
		}
	})
	wantRunning(t, ready)
	defer ask(t, cfg, api.Request{Stop: &api.StopRequest{Grace: -1}})
	if err := execIn(t, cfg); err != nil {
		t.Error(err)
	}
}

// TestFrozenTogether: of a monitor that stood still together with its VM, as with the whole
// cgroup frozen, the guest is not held to have been silent.
func TestFrozenTogether(t *testing.T) {
	m := newMonitor(Config{}, nil, slog.New(slog.DiscardHandler))
	m.silence, m.control = 2*silentLook, &control{port: &listened{}}
	m.mu.Lock() // no look ends
	result := make(chan error, 1)
	go func() { result <- m.awaitGuest(t.Context(), 0) }()
	time.Sleep(2 * m.silence)
	m.control.port.heard.Add(1)
	m.mu.Unlock()
	if err := <-result; err != nil {
		t.Error(err)
	}
}

// TestStopped: a process of the VM that a signal has stopped is named, but for the network's.
func TestStopped(t *testing.T) {
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	pid := cmd.Process.Pid
	if why := stopped(map[string]int{"qemu": pid}); why != "" {
		t.Errorf("it runs, and is %q", why)
	}
	cmd.Process.Signal(syscall.SIGSTOP)
	for deadline := time.Now().Add(patience); !strings.HasPrefix(stopped(map[string]int{"qemu": pid}), "stopped: a signal has stopped qemu, process "); {
		if time.Now().After(deadline) {
			t.Fatal("it is stopped, and nobody says so")
		}
	}
	if why := stopped(map[string]int{keeper.Process: pid, "gone": 1 << 30}); why != "" {
		t.Errorf("%q", why)
	}
}
