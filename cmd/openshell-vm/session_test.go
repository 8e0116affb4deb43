package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/drivers/driverstest/capture"
)

// terminal is the CLI in a pseudo-terminal, against a fake gateway.
type terminal struct {
	*testing.T
	pty, tty *os.File
	cmd      *exec.Cmd
	screen   capture.Buffer // what it has shown
}

// onTerminal's gateway has one running sandbox, web, whose workload is cat on
// a terminal.
func onTerminal(t *testing.T, args ...string) *terminal {
	t.Helper()
	return onTerminalWith(t, `[{"id": "aaaaaaaaaaaa", "name": "web", "state": "running",
		"process": {"args": ["cat"], "terminal": true}}]`, args...)
}

// onTerminalWith is onTerminal with other sandboxes.
func onTerminalWith(t *testing.T, sandboxes string, args ...string) *terminal {
	t.Helper()
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "sandboxes.json"), []byte(sandboxes), 0o600))
	p, tty, err := pty.Open()
	check(t, err)
	check(t, pty.Setsize(p, &pty.Winsize{Rows: 24, Cols: 80}))
	term := &terminal{T: t, pty: p, tty: tty, cmd: exec.Command(say.Program, args...)}
	term.cmd.Env = append(append(os.Environ(), "GORACE="+noExitDelay), serve(t, dir)...)
	term.cmd.Stdin, term.cmd.Stdout, term.cmd.Stderr = tty, tty, tty
	term.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	check(t, term.cmd.Start())
	go func() { _, _ = io.Copy(&term.screen, p) }()
	t.Cleanup(func() {
		_ = term.cmd.Process.Kill()
		p.Close()
		tty.Close()
	})
	return term
}

func (term *terminal) sees(text string) {
	term.Helper()
	term.until("the screen shows "+text, func() bool { return strings.Contains(term.screen.String(), text) })
}

func (term *terminal) until(what string, ok func() bool) {
	term.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			term.Fatalf("not within %v: %s\n%q", patience, what, term.screen.String())
		}
	}
}

func (term *terminal) types(keys string) {
	term.Helper()
	_, err := term.pty.WriteString(keys)
	check(term, err)
}

// cooked says whether the terminal is in the mode that shells leave it in.
func (term *terminal) cooked() bool {
	term.Helper()
	mode, err := unix.IoctlGetTermios(int(term.tty.Fd()), unix.TCGETS)
	check(term, err)
	const want = unix.ICANON | unix.ECHO | unix.ISIG
	return mode.Lflag&want == want && mode.Oflag&unix.OPOST != 0
}

// ends wants the CLI to end with a code and the terminal as it was.
func (term *terminal) ends(code int) {
	term.Helper()
	_ = term.cmd.Wait()
	if got := term.cmd.ProcessState.ExitCode(); got != code {
		term.Errorf("exit code %d, want %d\n%q", got, code, term.screen.String())
	}
	if !term.cooked() {
		term.Error("the terminal is left raw")
	}
}

func TestTerminalIsTheWorkloads(t *testing.T) {
	term := onTerminal(t, "run", "--rm", "-it", "cat")
	term.sees("size 24 80")
	term.until("the terminal is raw", func() bool { return !term.cooked() })
	check(t, pty.Setsize(term.pty, &pty.Winsize{Rows: 40, Cols: 132}))
	term.sees("size 40 132")
	term.types("typed\x03\x1a\x04") // no signal, no suspension, no end: keys
	term.sees("typed\x03\x1a\x04")
	check(t, term.cmd.Process.Signal(syscall.SIGUSR1))
	term.types("\x10x") // ctrl-p and something else is not the detach keys
	term.sees("\x10x")
	term.types("\x10\x10\x11")
	term.sees("detached; openshell-vm attach made-up")
	term.ends(0)
}

// TestTerminalIsRawBeforeTheFirstPrompt: a workload may be quicker than the answer to its
// start. Its prompt is not shown before the terminal is set up for what is typed then.
func TestTerminalIsRawBeforeTheFirstPrompt(t *testing.T) {
	term := onTerminal(t, "run", "--rm", "-it", "prompt")
	term.sees("prompt> ")
	if term.cooked() {
		t.Error("the prompt is shown, and the terminal is not raw yet")
	}
	term.types("\x10\x11")
	term.sees("detached")
	term.ends(0)
}

func TestTerminalIsRestoredAfterTheWorkload(t *testing.T) {
	term := onTerminal(t, "run", "--rm", "-it", "exit", "7")
	term.ends(7)
}

func TestTerminalIsRestoredAfterASignal(t *testing.T) {
	term := onTerminal(t, "run", "--rm", "-it", "trap")
	term.sees("ready")
	term.until("the terminal is raw", func() bool { return !term.cooked() })
	check(t, term.cmd.Process.Signal(syscall.SIGTERM))
	term.ends(128 + 15)
}

func TestTerminalIsRestoredAfterAFailure(t *testing.T) {
	term := onTerminal(t, "run", "-it", "fail")
	term.ends(125)
	term.sees("hint: ")
}

func TestAttach(t *testing.T) {
	term := onTerminal(t, "attach", "web")
	term.sees("size 24 80")
	term.types("typed\x03")
	term.sees("typed\x03")
	term.types("\x10\x11")
	term.sees("detached")
	term.ends(0)
}

func TestExecOnATerminal(t *testing.T) {
	term := onTerminal(t, "exec", "-it", "web", "cat")
	term.sees("size 24 80")
	check(t, term.cmd.Process.Signal(syscall.SIGTERM))
	term.sees("signal 15")
	check(t, pty.Setsize(term.pty, &pty.Winsize{Rows: 40, Cols: 132}))
	term.sees("size 40 132")
	term.types("\x10\x11")
	term.ends(0)
}

// TestThirdSignalLeaves: a workload that can't be ended or reached does not hold its client.
func TestThirdSignalLeaves(t *testing.T) {
	term := onTerminal(t, "exec", "-it", "web", "cat")
	term.sees("size 24 80")
	for i := range 3 {
		check(t, term.cmd.Process.Signal(syscall.SIGTERM))
		if want := i + 1; want < 3 {
			term.until("a signal more", func() bool { return strings.Count(term.screen.String(), "signal 15") == want })
		}
	}
	term.sees("got 3 signals to end, and leaves")
	term.ends(143)
}

func TestInterruptGoesToTheWorkload(t *testing.T) {
	term := onTerminal(t, "run", "--rm", "trap") // no -t: ctrl-c is a signal to the CLI
	term.sees("ready")
	// Between the workload's first line and the end of the start a signal still
	// interrupts. Then, too, the exit code says which signal it was.
	term.types("\x03")
	term.ends(130)
}

func TestProgressIsShownAndTakenAway(t *testing.T) {
	term := onTerminal(t, "run", "boots-for-ever")
	term.sees("starting made-up … 1s")
	term.types("\x03")
	term.ends(130)
	term.until("the progress line is taken away", func() bool { return strings.HasSuffix(term.screen.String(), "\r\x1b[K") })
}

// TestProgressOfALongBoot: the line says what the gateway knows of the boot.
func TestProgressOfALongBoot(t *testing.T) {
	term := onTerminal(t, "run", "prepares-for-ever")
	term.sees("starting made-up: preparing its root, 8000 of 100000 files … ")
	term.types("\x03")
	term.ends(130)
}

// TestInterruptedCreation: a sandbox that was made in spite of it is removed.
func TestInterruptedCreation(t *testing.T) {
	term := onTerminal(t, "run", "--name", "late", "--", "sleep", "1")
	term.sees("creating the sandbox")
	term.types("\x03")
	term.ends(130)
	ps := exec.Command(say.Program, "ps", "-a")
	ps.Env = term.cmd.Env
	if out, err := ps.Output(); err != nil || strings.Contains(string(out), "late") || !strings.Contains(string(out), "web") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestSecondInterruptLeaves: who interrupts the removal, too, is told what is left.
func TestSecondInterruptLeaves(t *testing.T) {
	term := onTerminal(t, "run", "stays-for-ever")
	term.sees("starting made-up")
	term.types("\x03")
	term.sees("removing made-up")
	term.types("\x03")
	term.sees("interrupted while made-up was being removed")
	term.sees("openshell-vm rm -f made-up removes it")
	term.ends(130)
}

// TestPullOnTerminal draws one line and takes it away.
func TestPullOnTerminal(t *testing.T) {
	term := onTerminal(t, "create", "--image", "slow")
	term.sees("fetching slow [==========          ] 5MiB of 10MiB, 0 of 1 layer")
	term.ends(0)
	term.sees("c0ffee00c0ff")
	if s := term.screen.String(); strings.Count(s, "\n") != 1 {
		t.Errorf("more than one line: %q", s)
	}
}

// TestTableOnTerminal: the table is cut to the terminal's width, but for --no-trunc.
func TestTableOnTerminal(t *testing.T) {
	list := `[{"id": "aaaaaaaaaaaa", "name": "box", "driver": "vm", "state": "dead",
		"desired": "running", "reason": "` + strings.Repeat("x", 70) + `end"}]`
	for args, cut := range map[string]bool{"ps": true, "ps --no-trunc": false} {
		term := onTerminalWith(t, list, strings.Fields(args)...)
		term.ends(0)
		term.sees("none yet")
		if whole := strings.Contains(term.screen.String(), "xend"); whole == cut {
			t.Errorf("%s: %s", args, term.screen.String())
		}
	}
}
