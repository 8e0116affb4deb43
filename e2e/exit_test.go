//go:build e2e

package e2e

import (
	"context"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"openshell-vm/drivers/driverstest/capture"
)

// TestExitCodes expects the exit codes of container tools, of an ordinary user's VMs. TestFirstDay
// compares root's with docker's, and TestBoots has 0.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, users()["user"])
	for _, c := range []struct {
		command string
		code    int
		stdout  string
		stderr  string
	}{
		{"sh -c 'echo out; echo err >&2; exit 7'", 7, "out\n", "err\n"},
		{"/etc/passwd", 126, "", "permission denied"},
		{"/no/such/program", 127, "", "no such file"},
		{"sh -c 'kill -TERM $$'", 143, "", ""},
		{"sh -c 'kill -KILL $$'", 137, "", ""},
	} {
		r := w.try(append([]string{"run", "--rm", "--ephemeral", "--"}, words(c.command)...)...)
		if r.code != c.code || r.stdout != c.stdout || !strings.Contains(strings.ToLower(r.stderr), c.stderr) {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q; wanted %d, %q, %q", c.command, r.code, r.stdout, r.stderr, c.code, c.stdout, c.stderr)
		}
		t.Logf("%-45s exit code %d", c.command, r.code)
	}
}

// words splits a command at spaces outside single quotes.
func words(s string) []string {
	var out []string
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			out = append(out, part)
		} else {
			out = append(out, strings.Fields(part)...)
		}
	}
	return out
}

// TestBoots boots VMs one after the other, for each user. Each has to answer. Other tests boot two
// hundred: OPENSHELL_E2E_BOOTS=20 is for whoever changes how a VM boots.
func TestBoots(t *testing.T) {
	n := 2
	if s := os.Getenv("OPENSHELL_E2E_BOOTS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	usersAtOnce(t, func(t *testing.T, w *world) {
		var took []time.Duration
		for i := range n {
			r := w.try("run", "--rm", "--ephemeral", "--", "echo", "up")
			if r.code != 0 || r.stdout != "up\n" {
				t.Fatalf("boot %d: exit code %d, %q, %s", i+1, r.code, r.stdout, r.stderr)
			}
			took = append(took, r.took)
		}
		report(t, "run to exit", took)
	})
}

// TestTerminal runs a shell in a pseudo-terminal of a VM, resizes it, and ends it. TestFirstDay has root's.
func TestTerminal(t *testing.T) {
	asUser(t, func(t *testing.T, w *world) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*patience)
		defer cancel()
		cmd := w.command(ctx, "openshell-vm", "run", "-it", "--rm", "--ephemeral", "--", "sh")
		terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
		w.must(err)
		defer terminal.Close()
		screen := &capture.Buffer{}
		go func() { _, _ = io.Copy(screen, terminal) }()
		defer func() {
			if t.Failed() {
				t.Logf("the screen:\n%s", screen)
			}
		}()

		// Before and after each command a shell changes the terminal's mode, and drops what
		// is typed meanwhile. A person would type it again.
		ask := func(line string, answered func() bool) {
			t.Helper()
			var typed time.Time
			w.eventually(line+" is answered", patience, func() bool {
				if answered() {
					return true
				}
				if time.Since(typed) > 2*time.Second {
					typed = time.Now()
					_, _ = io.WriteString(terminal, line+"\r")
				}
				return false
			})
		}
		shows := func(text string) func() bool {
			return func() bool { return strings.Contains(screen.String(), text) }
		}
		w.eventually("a prompt", patience, func() bool { return shows("# ")() || shows("$ ")() })
		ask("tty; stty size", shows("24 80"))
		w.must(pty.Setsize(terminal, &pty.Winsize{Rows: 40, Cols: 132}))
		ask("stty size", shows("40 132"))
		ask("cat", shows("cat\r\n"))
		ask("hello", func() bool { return strings.Count(screen.String(), "hello\r\n") > 1 }) // the echo, and cat's own
		_, err = terminal.Write([]byte{3})                                                   // ctrl-c goes to the workload, not to the CLI
		w.must(err)
		ask("echo stopped=$?", shows("stopped=130"))
		ask("exit 5", shows("exit 5"))
		if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 5 {
			t.Errorf("exit code %d, 5 is wanted (%v)\n%s", cmd.ProcessState.ExitCode(), err, screen)
		}
	})
}
