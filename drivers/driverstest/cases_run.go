package driverstest

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/capture"
	"openshell-vm/drivers/driverstest/fixture"
)

// exitCodes: they are those of container tools. The reason of one is told to who is
// attached, and is not in the log.
func exitCodes(t *testing.T, s *fixture.Suite) string {
	for _, c := range []struct {
		args   []string
		script string
		code   int
	}{
		{script: "exit 0", code: 0},
		{script: "exit 7", code: 7},
		{args: []string{"/etc"}, code: 126},
		{args: []string{"/no/such/command"}, code: 127},
		{args: []string{"no-such-command"}, code: 127},
	} {
		b := s.Box(t, func(b *fixture.Box) {
			b.Shell(c.script)
			if c.args != nil {
				b.Spec.Process.Args = c.args
			}
		})
		if got := b.Inspect().State; got != drivers.Created {
			t.Errorf("%v: %s before the start", b.Spec.Process.Args, got)
		}
		client := b.Run(false)
		_, code := client.Rest()
		status := b.Ended()
		if code != c.code || status.State != drivers.Exited || status.ExitCode != c.code {
			t.Errorf("%v: attached client %d, status %s %d; wanted %d", b.Spec.Process.Args, code, status.State, status.ExitCode, c.code)
		}
		if why := client.Stderr.String(); c.code > 125 && (status.Reason == "" || !strings.HasPrefix(why, "openshell-vm: ")) {
			t.Errorf("%v: %d; the reason is %q, and its client reads %q", b.Spec.Process.Args, c.code, status.Reason, why)
		}
		if out, problems := logged(b); out+problems != "" {
			t.Errorf("%v: the log holds what the workload did not write: %q, %q", b.Spec.Process.Args, out, problems)
		}
	}
	b := s.Box(t, nil)
	client := b.Run(false)
	client.Expect("ready")
	signal(b, 9)
	if _, code := client.Rest(); code != 137 {
		t.Errorf("SIGKILL: attached client %d", code)
	}
	if status := b.Ended(); status.ExitCode != 137 {
		t.Errorf("SIGKILL: status %d", status.ExitCode)
	}
	return "0, 7, 126, 127, 137"
}

func signal(b *fixture.Box, sig int) {
	b.T.Helper()
	signaler, ok := b.Driver.(drivers.Signaler)
	if !ok {
		b.T.Fatal("this driver can't signal")
	}
	if err := signaler.Signal(b.T.Context(), b.ID, sig); err != nil {
		b.T.Fatalf("signal %d: %v", sig, err)
	}
}

// attachEarly: a client that attached before the start gets all output of both streams.
func attachEarly(t *testing.T, s *fixture.Suite) string {
	const lines = 2000
	b := s.Box(t, func(b *fixture.Box) {
		b.Shell(fmt.Sprintf("seq 1 %d; echo problem >&2; seq 1 %d", lines, lines))
	})
	client := b.Run(false)
	out, code := client.Rest()
	if code != 0 || len(out) != 2*lines || out[0] != "1" || out[lines-1] != fmt.Sprint(lines) || out[2*lines-1] != fmt.Sprint(lines) {
		t.Errorf("code %d, %d lines of %d", code, len(out), 2*lines)
	}
	if got := client.Stderr.String(); strings.TrimSpace(got) != "problem" {
		t.Errorf("stderr %q", got)
	}
	return fmt.Sprintf("%d lines", 2*lines+1)
}

// attachAgain: a client detaches, others attach, with a replay and without.
func attachAgain(t *testing.T, s *fixture.Suite) string {
	b := s.Box(t, func(b *fixture.Box) {
		b.Shell("trap 'echo two; exit 3' USR1; echo one; while :; do sleep 0.1; done")
	})
	first := b.Run(false)
	first.Expect("one")
	second := b.Attach(false, false)
	replay := b.Attach(true, false)
	replay.Expect("one")
	first.Detach()
	if got := b.Inspect().State; got != drivers.Running {
		t.Fatalf("%s after a client detached", got)
	}
	signal(b, int(syscall.SIGUSR1)) // an exec's code would be asked for while the sandbox ends
	for name, c := range map[string]*fixture.Session{"second": second, "replay": replay} {
		out, code := c.Rest()
		if code != 3 || !slices.Equal(out, []string{"two"}) {
			t.Errorf("%s client: code %d, output %q", name, code, out)
		}
	}
	return ""
}

// again: the engine may still tidy up after the last run. It does not take the next one
// down.
func again(t *testing.T, s *fixture.Suite) string {
	times := 8
	if s.Guest {
		times = 4 // each is a boot
	}
	b := s.Box(t, func(b *fixture.Box) { b.Shell("echo hello; exit 5") })
	for i := range times {
		if out, code := b.Run(false).Rest(); code != 5 || !slices.Equal(out, []string{"hello"}) {
			t.Errorf("run %d: code %d, output %q", i, code, out)
		}
		b.Ended()
	}
	return fmt.Sprintf("%d times", times)
}

// stdin: all that is sent arrives, and its end too.
func stdin(t *testing.T, s *fixture.Suite) string {
	b := s.Box(t, func(b *fixture.Box) {
		b.Shell("cat; echo ended")
		b.Spec.Stdin = true
	})
	client := b.Run(true)
	text := strings.Repeat("0123456789abcdef\n", 8192)
	if _, err := io.WriteString(client.Stdin, text); err != nil {
		t.Fatal(err)
	}
	client.Stdin.Close()
	out, code := client.Rest()
	if code != 0 || len(out) != 8193 || out[8192] != "ended" {
		t.Errorf("code %d, %d lines, last %q", code, len(out), out[max(0, len(out)-1):])
	}
	return fmt.Sprintf("%d KiB", len(text)>>10)
}

// logged is the stored output.
func logged(b *fixture.Box) (stdout, stderr string) {
	b.T.Helper()
	logger, ok := b.Driver.(drivers.Logger)
	if !ok {
		b.T.Fatal("this driver can't give back logs")
	}
	var out, problems capture.Buffer
	if err := logger.Logs(b.T.Context(), b.ID, false, &out, &problems); err != nil {
		b.T.Fatalf("logs: %v", err)
	}
	return out.String(), problems.String()
}

// logs: they have the output since the last start, both streams apart, also after the
// end.
func logs(t *testing.T, s *fixture.Suite) string {
	b := s.Box(t, func(b *fixture.Box) {
		b.Shell("if [ -e /tmp/again ]; then echo second; echo problem >&2; sleep 60; else touch /tmp/again; echo first; fi")
	})
	if out, problems := logged(b); out+problems != "" {
		t.Errorf("before the start: %q, %q", out, problems)
	}
	b.Run(false).Rest()
	b.Ended()
	if out, problems := logged(b); out != "first\n" || problems != "" {
		t.Errorf("after the first end: %q, %q", out, problems)
	}
	client := b.Run(false)
	client.Expect("second")
	s.Eventually(t, func() error {
		if out, problems := logged(b); out != "second\n" || problems != "problem\n" {
			return fmt.Errorf("while it runs: %q, %q", out, problems)
		}
		return nil
	})
	var followed capture.Buffer
	done := make(chan error, 1)
	go func() { done <- b.Driver.(drivers.Logger).Logs(t.Context(), b.ID, true, &followed, io.Discard) }()
	b.Stop(0)
	select {
	case err := <-done:
		if err != nil || followed.String() != "second\n" {
			t.Errorf("followed: %q, %v", followed.String(), err)
		}
	case <-time.After(fixture.Patience):
		t.Error("following does not end with the sandbox")
	}
	return ""
}

// terminal: it has one stream, the size that was asked for, and later sizes.
func terminal(t *testing.T, s *fixture.Suite) string {
	b := s.Box(t, func(b *fixture.Box) {
		b.Runs("size")
		b.Spec.Process.Terminal = true
		b.Spec.Process.Size = drivers.Size{Rows: 33, Cols: 101}
		b.Spec.Stdin = true
	})
	client := b.Run(true)
	client.Expect("33x101")
	client.Size <- drivers.Size{Rows: 50, Cols: 132}
	client.Expect("50x132")

	exec := b.Exec(drivers.Process{Args: []string{b.Tool, "size"}, Terminal: true, Size: drivers.Size{Rows: 12, Cols: 34}}, true)
	exec.Expect("12x34")
	exec.Size <- drivers.Size{Rows: 56, Cols: 78}
	exec.Expect("56x78")
	if _, err := io.WriteString(exec.Stdin, "\x03"); err != nil { // ^C
		t.Fatal(err)
	}
	if _, code := exec.Rest(); code != 130 && code != 2 {
		t.Errorf("^C in an exec's terminal: %d", code)
	}
	return "33x101 → 50x132, exec too"
}

// signals: each reaches the workload; none reaches what has ended.
func signals(t *testing.T, s *fixture.Suite) string {
	b := s.Box(t, func(b *fixture.Box) { b.Runs("signals") })
	client := b.Run(false)
	client.Expect("ready")
	signal(b, 10)
	client.Expect("10")
	client.Signal <- 12
	client.Expect("12")
	signal(b, 15)
	client.Expect("15")
	if _, code := client.Rest(); code != 42 {
		t.Errorf("code %d", code)
	}
	b.Ended()
	if err := b.Driver.(drivers.Signaler).Signal(t.Context(), b.ID, 10); !errors.Is(err, drivers.ErrNotRunning) {
		t.Errorf("a signal to what has ended: %v", err)
	}
	return ""
}

// execs: they have exit codes, streams and an environment. A cancelled one is killed.
func execs(t *testing.T, s *fixture.Suite) string {
	b := s.Box(t, nil)
	_, err := b.Driver.(drivers.Execer).Exec(t.Context(), b.ID, drivers.Process{Args: []string{"true"}}, drivers.Streams{})
	if !errors.Is(err, drivers.ErrNotRunning) {
		t.Errorf("exec before the start: %v", err)
	}
	b.Run(false).Expect("ready")
	for _, c := range []struct {
		p    drivers.Process
		in   string
		out  string
		code int
	}{
		{p: drivers.Process{Args: []string{"sh", "-c", "echo $A $PWD; exit 9"}, Env: []string{"A=b c"}, Dir: "/tmp"},
			out: "b c /tmp", code: 9},
		{p: drivers.Process{Args: []string{"cat"}}, in: "hello\n", out: "hello"},
		{p: drivers.Process{Args: []string{"id", "-u"}, User: "1000"}, out: "1000"},
		{p: drivers.Process{Args: []string{"sh", "-c", "kill -9 $$"}}, code: 137},
		{p: drivers.Process{Args: []string{"no-such-command"}}, code: 127},
		{p: drivers.Process{Args: []string{"/etc/passwd"}}, code: 126},
	} {
		client := b.Exec(c.p, c.in != "")
		if c.in != "" {
			_, _ = io.WriteString(client.Stdin, c.in)
			client.Stdin.Close()
		}
		out, code := client.Rest()
		if code != c.code || c.code < 126 && strings.Join(out, "\n") != c.out {
			t.Errorf("%q: code %d, output %q; wanted %d, %q", c.p.Args, code, out, c.code, c.out)
		}
	}
	client := b.Exec(drivers.Process{Args: []string{b.Tool, "signals"}}, false)
	client.Expect("ready")
	client.Signal <- 10
	client.Expect("10")
	client.Detach()
	s.Eventually(t, func() error {
		out, _ := b.Exec(drivers.Process{Args: []string{"ps"}}, false).Rest()
		if text := strings.Join(out, "\n"); strings.Contains(text, "witness signals") {
			return errors.New("a cancelled exec still runs")
		}
		return nil
	})
	return ""
}

// graceful: a stop sends SIGTERM, and SIGKILL after the grace. Without a grace it kills
// at once.
func graceful(t *testing.T, s *fixture.Suite) string {
	b := s.Box(t, nil)
	b.Run(false).Expect("ready")
	begin := time.Now()
	b.Stop(fixture.Patience)
	asked := time.Since(begin)
	if status := b.Inspect(); status.State != drivers.Exited || status.ExitCode != 0 {
		t.Errorf("after SIGTERM: %s %d", status.State, status.ExitCode)
	}
	if asked >= fixture.Patience {
		t.Errorf("a workload that ends at once took all of its grace to stop: %v", asked)
	}
	b = s.Box(t, func(b *fixture.Box) { b.Shell("trap '' TERM; echo ready; while :; do sleep 0.1; done") })
	b.Run(false).Expect("ready")
	begin = time.Now()
	b.Stop(time.Second)
	killed := time.Since(begin)
	if status := b.Inspect(); status.State == drivers.Running || status.State == drivers.Exited && status.ExitCode != 137 {
		t.Errorf("after the grace: %s %d", status.State, status.ExitCode)
	}
	if killed < time.Second || killed > fixture.Patience {
		t.Errorf("a grace of 1 s took %v", killed)
	}
	b = s.Box(t, func(b *fixture.Box) { b.Shell("trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done") })
	b.Run(false).Expect("ready")
	b.Stop(0)
	if status := b.Inspect(); status.State == drivers.Running || status.State == drivers.Exited && status.ExitCode != 137 {
		t.Errorf("killed, without a grace: %s %d", status.State, status.ExitCode)
	}
	return fmt.Sprintf("%d ms; grace 1 s + %d ms", asked.Milliseconds(), (killed - time.Second).Milliseconds())
}
