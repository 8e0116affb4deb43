package monitor

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/monitor/api"
	"openshell-vm/drivers/vm/monitor/logs"
	"openshell-vm/internal/peer"
	"openshell-vm/internal/stream"
)

var attachAll = api.StreamRequest{Attach: &api.AttachRequest{Replay: true}}

func TestALife(t *testing.T) {
	begin := make(chan struct{})
	cfg, ready, end := startMonitor(t, nil, func(g *fakeGuest) {
		g.boot()
		g.say(stream.Stdout, "out\n")
		g.say(stream.Stderr, "err\n")
		<-begin
		g.send(guest.Message{Seen: &guest.Seen{Generation: 42}})
		g.say(stream.Stdout, "later\n")
		g.exit(7, "")
	})
	wantRunning(t, ready)
	if !Alive(cfg.Dir) {
		t.Error("a running monitor holds no lock")
	}
	r, err := ask(t, cfg, api.Request{Status: &struct{}{}})
	if err != nil || r.State != drivers.Running || r.Kernel != "6.1-fake" || r.StartedAt.IsZero() {
		t.Errorf("status: %+v, %v", r, err)
	}
	var stdout, stderr bytes.Buffer
	attached := streamed(t, cfg, attachAll, drivers.Streams{Stdout: &stdout, Stderr: &stderr})
	close(begin)
	if o := await(t, attached); o.code != 7 || o.err != nil {
		t.Errorf("attach: %+v", o)
	}
	if stdout.String() != "out\nlater\n" || stderr.String() != "err\n" {
		t.Errorf("attach: %q and %q", stdout.String(), stderr.String())
	}
	if err := await(t, end); err != nil {
		t.Error(err)
	}
	exit := wantExit(t, cfg, Exit{State: drivers.Exited, ExitCode: 7})
	if exit.SeenGeneration != 42 || exit.StartedAt.IsZero() || exit.ExitedAt.Before(exit.StartedAt) {
		t.Errorf("%+v", exit)
	}
	if !missing(cfg.RunDir, api.SocketFile) {
		t.Error("the socket is left behind")
	}
}

func TestACommandThatCannotRunHasBooted(t *testing.T) {
	cfg, ready, end := startMonitor(t, nil, func(g *fakeGuest) {
		g.send(guest.Message{Hello: &guest.Hello{Version: guest.Version}})
		g.until(func(m guest.Message) bool { return m.Start != nil })
		g.exit(127, "nosuch: not found")
	})
	wantRunning(t, ready)
	await(t, end)
	wantExit(t, cfg, Exit{State: drivers.Exited, ExitCode: 127, Reason: "nosuch: not found"})
	var log bytes.Buffer
	if err := logs.Read(cfg.Dir, &log, &log); err != nil || log.Len() > 0 {
		t.Errorf("of a workload that never ran the log has %q, %v", log.String(), err)
	}
}

// TestTheReasonIsNoOutput checks that an attached client is told why the workload
// ended, and that the log holds only what the workload wrote.
func TestTheReasonIsNoOutput(t *testing.T) {
	end := make(chan struct{})
	cfg, ready, ended := startMonitor(t, nil, func(g *fakeGuest) {
		g.boot()
		g.say(stream.Stderr, "err\n")
		<-end
		g.exit(137, "out of memory")
	})
	wantRunning(t, ready)
	why := attachAll
	why.Attach = &api.AttachRequest{Replay: true, Why: true}
	var attached, followed, log bytes.Buffer
	outcomes := []<-chan outcome{
		streamed(t, cfg, why, drivers.Streams{Stderr: &attached}),
		streamed(t, cfg, attachAll, drivers.Streams{Stderr: &followed}),
	}
	close(end)
	for _, o := range outcomes {
		if o := await(t, o); o.code != 137 || o.err != nil {
			t.Errorf("%+v", o)
		}
	}
	if err := await(t, ended); err != nil {
		t.Error(err)
	}
	wantExit(t, cfg, Exit{State: drivers.Exited, ExitCode: 137, Reason: "out of memory"})
	if err := logs.Read(cfg.Dir, &log, &log); err != nil {
		t.Error(err)
	}
	if a, f, l := attached.String(), followed.String(), log.String(); a != "err\nopenshell-vm: out of memory\n" || f != "err\n" || l != "err\n" {
		t.Errorf("attached %q, followed %q, the log %q", a, f, l)
	}
}

func TestFailedBoots(t *testing.T) {
	for name, test := range map[string]struct {
		life func(*fakeGuest)
		want api.Ready
	}{
		"hangs": {
			func(g *fakeGuest) {
				g.console.Write([]byte("tsc: calibrating\r\n"))
				g.until(func(guest.Message) bool { return false })
			},
			api.Ready{Problem: "the guest did not boot within 200ms", Hung: true, Console: "tsc: calibrating"},
		},
		"fails": {
			func(g *fakeGuest) {
				g.send(guest.Message{Failed: &guest.Failed{Reason: "no\x1b[2J root", Hint: "give one"}})
				g.until(func(guest.Message) bool { return false })
			},
			api.Ready{Problem: "no root", Hint: "give one"},
		},
		"another version": {
			func(g *fakeGuest) {
				g.send(guest.Message{Hello: &guest.Hello{Version: guest.Version + 1}})
				g.until(func(guest.Message) bool { return false })
			},
			api.Ready{Problem: "the guest init speaks version 3 of the protocol, the monitor 2"},
		},
		"greets twice": {
			func(g *fakeGuest) {
				for range 2 {
					g.send(guest.Message{Hello: &guest.Hello{Version: guest.Version, Kernel: "6"}})
				}
				g.until(func(guest.Message) bool { return false })
			},
			api.Ready{Problem: "the guest greeted twice"},
		},
		"dies": {
			func(g *fakeGuest) {
				said := []byte("qemu: no such machine\nvirtiofsd-root: disconnected\n")
				if err := os.WriteFile(g.monitor.cfg.file(logs.ToolsFile), said, 0o600); err != nil {
					g.t.Error(err)
				}
				g.monitor.group.Died <- died("qemu", errors.New("exit status 1"))
			},
			api.Ready{Problem: "qemu ended: exit status 1: no such machine"},
		},
		"crashes": {
			func(g *fakeGuest) {
				g.monitor.group.Died <- died("qemu", exec.Command("sh", "-c", "kill -SEGV $$").Run())
			},
			api.Ready{Problem: "qemu ended: signal: segmentation fault", Crashed: true},
		},
		"crashes later": {
			func(g *fakeGuest) {
				g.send(guest.Message{Hello: &guest.Hello{Version: guest.Version, Kernel: "6"}})
				g.until(func(m guest.Message) bool { return m.Start != nil })
				g.monitor.group.Died <- died("qemu", exec.Command("sh", "-c", "kill -SEGV $$").Run())
			},
			api.Ready{Problem: "qemu ended: signal: segmentation fault"},
		},
		"its file server crashes": {
			func(g *fakeGuest) {
				g.monitor.group.Died <- died("virtiofsd-root", exec.Command("sh", "-c", "kill -SEGV $$").Run())
			},
			api.Ready{Problem: "virtiofsd-root ended: signal: segmentation fault"},
		},
		"is killed": {
			func(g *fakeGuest) {
				g.monitor.group.Died <- died("qemu", exec.Command("sh", "-c", "kill -KILL $$").Run())
			},
			api.Ready{Problem: "qemu ended: signal: killed"},
		},
		"ends": {
			func(g *fakeGuest) { g.monitor.group.Died <- died("qemu", nil) },
			api.Ready{Problem: "qemu ended, before the guest said anything"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, ready, end := startMonitor(t, func(c *Config) {
				if test.want.Hung {
					c.BootDeadline = 200 * time.Millisecond
				}
			}, test.life)
			if got := await(t, ready); got != test.want {
				t.Errorf("%+v\nwant %+v", got, test.want)
			}
			if err := await(t, end); err == nil {
				t.Error("Run says nothing of it")
			}
			wantExit(t, cfg, Exit{State: drivers.Dead, Reason: "the boot failed: " + test.want.Problem})
		})
	}
}

func TestADeadHypervisorHasNoExitCode(t *testing.T) {
	dialed := make(chan struct{})
	cfg, ready, end := startMonitor(t, nil, func(g *fakeGuest) {
		g.boot()
		g.say(stream.Stdout, "last words\n")
		<-dialed
		g.monitor.group.Died <- died("virtiofsd-shares", errors.New("signal: killed"))
	})
	wantRunning(t, ready)
	var stdout bytes.Buffer
	attached := streamed(t, cfg, attachAll, drivers.Streams{Stdout: &stdout})
	close(dialed)
	o := await(t, attached)
	if o.err == nil || !strings.Contains(o.err.Error(), "virtiofsd-shares ended: signal: killed") {
		t.Errorf("attach: %+v", o)
	}
	await(t, end)
	wantExit(t, cfg, Exit{State: drivers.Dead, Reason: "virtiofsd-shares ended: signal: killed"})
	if stdout.String() != "last words\n" {
		t.Errorf("%q", stdout.String())
	}
}

// TestAGuestThatGoesDown has a guest's kernel panic or power off. QEMU and libkrun exit
// with 0 then, and the reason is on the guest's console. The file servers may end
// first, with an error.
func TestAGuestThatGoesDown(t *testing.T) {
	byStatus := exec.Command("sh", "-c", "exit 1").Run()
	for console, want := range map[string]string{
		"one\ntwo\n[    8.9] three\n[    9.0] Kernel panic - not syncing: no \x1b[31mmore\n[    9.1] Call Trace:\n": "the guest's kernel panicked: no more; " +
			"the last lines of its console: two | [    8.9] three | [    9.0] Kernel panic - not syncing: no more",
		"[    9.0] reboot: Restarting system\n": "the guest was powered off or restarted from inside; " +
			"the last lines of its console: [    9.0] reboot: Restarting system",
		"": "the guest was powered off or restarted from inside",
	} {
		cfg, ready, end := startMonitor(t, nil, func(g *fakeGuest) {
			g.boot()
			io.WriteString(g.console, console)
			g.monitor.group.Died <- died("virtiofsd-root", byStatus)
			g.monitor.group.Died <- died("qemu", nil)
		})
		wantRunning(t, ready)
		await(t, end)
		wantExit(t, cfg, Exit{State: drivers.Dead, Reason: want})
	}
}

// TestAnExitStatusIsFoundAmongTheLastMessages ends the VM right after the guest
// reported the workload's exit, before the monitor has read the report. That is a
// normal end.
func TestAnExitStatusIsFoundAmongTheLastMessages(t *testing.T) {
	cfg, ready, end := startMonitor(t, nil, func(g *fakeGuest) {
		g.boot()
		g.monitor.group.Died <- died("qemu", nil)
		g.exit(3, "")
	})
	wantRunning(t, ready)
	await(t, end)
	wantExit(t, cfg, Exit{State: drivers.Exited, ExitCode: 3})
}

func TestStop(t *testing.T) {
	for name, test := range map[string]struct {
		grace time.Duration
		life  func(*fakeGuest)
		want  Exit
	}{
		"obeys": {5 * time.Second, func(g *fakeGuest) {
			g.until(func(m guest.Message) bool { return m.Stop != nil && m.Stop.GraceNano == int64(5*time.Second) })
			g.exit(143, "")
		}, Exit{State: drivers.Exited, ExitCode: 143}},
		"is powered off": {-1, func(g *fakeGuest) {
			g.until(func(guest.Message) bool { return false })
		}, Exit{State: drivers.Exited, ExitCode: 137, Reason: "it was killed"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, ready, end := startMonitor(t, nil, func(g *fakeGuest) {
				g.boot()
				// The guest ends with the group's processes.
				go test.life(g)
				<-g.monitor.ended
			})
			wantRunning(t, ready)
			if _, err := ask(t, cfg, api.Request{Stop: &api.StopRequest{Grace: test.grace}}); err != nil {
				t.Error(err)
			}
			await(t, end)
			wantExit(t, cfg, test.want)
		})
	}
}

func TestInputSignalsAndSizes(t *testing.T) {
	got := make(chan string, 10)
	cfg, ready, _ := startMonitor(t, nil, func(g *fakeGuest) {
		g.boot()
		in := stream.NewReader(g.stdio)
		for range 3 {
			f, err := in.Read()
			if err != nil {
				t.Error(err)
			}
			got <- map[stream.Kind]string{stream.Stdin: "in ", stream.StdinClose: "close", stream.Resize: "size "}[f.Kind] + string(f.Payload)
		}
		g.until(func(m guest.Message) bool { return m.Signal != nil && m.Signal.Number == 2 })
		got <- "signal"
		g.exit(0, "")
	})
	wantRunning(t, ready)
	resize, signals := make(chan drivers.Size), make(chan int)
	attached := streamed(t, cfg, attachAll, drivers.Streams{
		Stdin: strings.NewReader("hello"), Resize: resize, Signals: signals,
	})
	for _, want := range []string{"in hello", "close"} {
		if text := await(t, got); text != want {
			t.Errorf("%q, want %q", text, want)
		}
	}
	resize <- drivers.Size{Rows: 24, Cols: 80}
	if text := await(t, got); text != "size "+string(stream.EncodeSize(24, 80)) {
		t.Errorf("%q", text)
	}
	signals <- 2
	if text := await(t, got); text != "signal" {
		t.Error(text)
	}
	await(t, attached)
}

func TestDetachingLeavesTheWorkload(t *testing.T) {
	finish := make(chan struct{})
	cfg, ready, end := startMonitor(t, nil, func(g *fakeGuest) {
		g.boot()
		<-finish
		g.exit(0, "")
	})
	wantRunning(t, ready)
	ctx, cancel := context.WithCancel(t.Context())
	attached := streamedFor(t, ctx, cfg, attachAll, drivers.Streams{})
	cancel()
	if o := await(t, attached); !errors.Is(o.err, context.Canceled) {
		t.Errorf("%+v", o)
	}
	if r, err := ask(t, cfg, api.Request{Status: &struct{}{}}); err != nil || r.State != drivers.Running {
		t.Errorf("%+v, %v", r, err)
	}
	close(finish)
	await(t, end)
}

// echo runs execs in the guest. They write back what they read.
func echo(g *fakeGuest) {
	for {
		f, m, err := g.next()
		switch {
		case err != nil:
			return
		case m.Exec != nil && m.Exec.Process.Args[0] == "missing":
			g.ctl.Write(stream.Error, f.Session, []byte("it can't be"))
		case f.Kind == stream.Stdin:
			g.ctl.Write(stream.Stdout, f.Session, f.Payload)
		case f.Kind == stream.StdinClose:
			g.ctl.Write(stream.Exit, f.Session, stream.EncodeExit(5))
		case f.Kind == stream.Signal:
			g.ctl.Write(stream.Exit, f.Session, stream.EncodeExit(128+int(f.Payload[0])))
		}
	}
}

func execOf(args ...string) api.StreamRequest {
	return api.StreamRequest{Exec: &api.ExecRequest{Process: drivers.Process{Args: args}, Stdin: true}}
}

func TestExecs(t *testing.T) {
	cfg, ready, _ := startMonitor(t, nil, func(g *fakeGuest) { g.boot(); echo(g) })
	wantRunning(t, ready)
	long := strings.Repeat("x", 100<<10) // longer than a frame
	var one, two bytes.Buffer
	first := streamed(t, cfg, execOf("cat", long), drivers.Streams{Stdin: strings.NewReader("one"), Stdout: &one})
	second := streamed(t, cfg, execOf("cat"), drivers.Streams{Stdin: strings.NewReader(long), Stdout: &two})
	for _, c := range []<-chan outcome{first, second} {
		if o := await(t, c); o.code != 5 || o.err != nil {
			t.Errorf("%+v", o)
		}
	}
	if one.String() != "one" || two.String() != long {
		t.Errorf("%q and %d bytes", one.String(), two.Len())
	}
	if o := await(t, streamed(t, cfg, execOf("missing"), drivers.Streams{})); o.err == nil || o.err.Error() != "it can't be" {
		t.Errorf("%+v", o)
	}
}

func TestAnExecDiesWithItsClient(t *testing.T) {
	begun, killed := make(chan struct{}), make(chan struct{})
	cfg, ready, _ := startMonitor(t, nil, func(g *fakeGuest) {
		g.boot()
		for {
			f, m, err := g.next()
			if err != nil {
				return
			}
			if m.Exec != nil {
				close(begun)
			}
			if f.Kind == stream.Abort {
				close(killed)
			}
		}
	})
	wantRunning(t, ready)
	ctx, cancel := context.WithCancel(t.Context())
	running := streamedFor(t, ctx, cfg, execOf("sleep"), drivers.Streams{})
	await(t, begun)
	cancel()
	await(t, running)
	await(t, killed)
}

func TestAnExecEndsWithTheSandbox(t *testing.T) {
	cfg, ready, end := startMonitor(t, nil, func(g *fakeGuest) {
		g.boot()
		g.until(func(m guest.Message) bool { return m.Exec != nil })
		g.exit(0, "")
	})
	wantRunning(t, ready)
	o := await(t, streamed(t, cfg, execOf("sleep"), drivers.Streams{}))
	if o.err == nil {
		t.Errorf("%+v", o)
	}
	await(t, end)
	if _, err := api.Dial(cfg.RunDir); !errors.Is(err, drivers.ErrNotRunning) {
		t.Errorf("dial after the end: %v", err)
	}
}

// TestTheEndOvertakesAClient ends a monitor while a client waits in its queue. For the
// client it is not running, so the stored exit counts.
func TestTheEndOvertakesAClient(t *testing.T) {
	dir := t.TempDir()
	l, err := peer.ListenIn(dir, api.SocketFile)
	if err != nil {
		t.Fatal(err)
	}
	c, err := api.Dial(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l.Close()
	if _, err := c.Do(t.Context(), api.Request{}); !errors.Is(err, drivers.ErrNotRunning) {
		t.Errorf("a request to who is gone: %v", err)
	}
}

func TestOneMonitorASandbox(t *testing.T) {
	dir := t.TempDir()
	if Alive(dir) {
		t.Error("nobody was ever there")
	}
	lock, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(dir); !errors.Is(err, ErrAlive) {
		t.Errorf("a second lock: %v", err)
	}
	if _, err := PID(dir); err == nil {
		t.Error("a number before the monitor wrote one")
	}
	if err := writePID(lock); err != nil {
		t.Fatal(err)
	}
	if pid, err := PID(dir); pid != os.Getpid() || err != nil {
		t.Error(pid, err)
	}
	if !Alive(dir) {
		t.Error("a held lock is not seen")
	}
	lock.Close()
	if Alive(dir) {
		t.Error("a lock that was let go is seen")
	}
}

// TestNobodyAttachesToABoot checks that clients wait for the outcome of a boot: if it
// fails, another monitor may try again.
func TestNobodyAttachesToABoot(t *testing.T) {
	asked := make(chan struct{})
	cfg, ready, end := startMonitor(t, nil, func(g *fakeGuest) {
		<-asked
		g.boot()
		g.exit(0, "")
	})
	waitFor(t, func() bool { return listens(cfg.RunDir) })
	o := await(t, streamed(t, cfg, attachAll, drivers.Streams{Stdin: strings.NewReader("early")}))
	if !errors.Is(o.err, drivers.ErrNotRunning) {
		t.Errorf("%+v", o)
	}
	close(asked)
	wantRunning(t, ready)
	await(t, end)
}

// listens reports whether a process listens on the socket.
func listens(runDir string) bool {
	c, err := api.Dial(runDir)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// TestAGuestThatBreaksTheProtocolEnds checks that a hostile guest can't fill the host's
// disk with error messages.
func TestAGuestThatBreaksTheProtocolEnds(t *testing.T) {
	cfg, ready, end := startMonitor(t, nil, func(g *fakeGuest) {
		g.boot()
		g.ctl.Write(stream.Control, 0, []byte("{nonsense"))
		g.monitor.group.Died <- died("qemu", errors.New("killed"))
		<-g.monitor.ended
	})
	wantRunning(t, ready)
	await(t, end)
	if e, err := ReadExit(cfg.Dir); err != nil || e.State != drivers.Dead {
		t.Errorf("%+v, %v", e, err)
	}
}
