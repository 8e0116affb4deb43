//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/creack/pty"

	"openshell-vm/drivers/driverstest/capture"
	"openshell-vm/internal/stream/streamtest"
)

// sizeVar is the environment variable for how many MiB TestBytes sends each way. To send
// more: OPENSHELL_E2E_MIB=1024 scripts/e2e ./e2e -run TestBytes -timeout 0
const sizeVar = "OPENSHELL_E2E_MIB"

func testSize(t *testing.T) int {
	text := os.Getenv(sizeVar)
	if text == "" {
		return 32 << 20
	}
	mib, err := strconv.Atoi(text)
	if err != nil || mib < 1 {
		t.Fatalf("%s=%s is no number of MiB", sizeVar, text)
	}
	return mib << 20
}

// witness is the path of the conformance suite's program inside a sandbox.
const witness = "/witness/witness"

// withWitness returns the flags for a sandbox with the witness, after those given.
func (w *world) withWitness(e engine, args ...string) []string {
	args = append(args, "--mount", w.readerDir()+":/witness")
	return append(args, e.flags...)
}

// TestBytes sends bytes both ways at once through run -i and exec -i. All of them have to
// arrive on both sides, and so has the exit code.
func TestBytes(t *testing.T) {
	size := testSize(t)
	patient := patience + 4*time.Duration(size)*time.Microsecond // a quarter of a megabyte a second
	eachEngine(t, func(t *testing.T, w *world, e engine) {
		size := size
		if e.driver == "vm" && os.Getenv(sizeVar) == "" {
			size /= 4 // which is still more than all that lies between the two
		}
		w.run(append(w.withWitness(e, "run", "-d", "--name", "box"), "--", "sleep", "1000000")...)
		for name, args := range map[string][]string{
			"run":  w.withWitness(e, "run", "-i", "--rm"),
			"exec": {"exec", "-i", "box"},
		} {
			in, want := streamtest.NewSource(size+1234), streamtest.NewSource(size)
			if _, err := io.Copy(io.Discard, want); err != nil {
				t.Fatal(err)
			}
			if name == "run" {
				args = append(args, "--")
			}
			ctx, cancel := context.WithTimeout(t.Context(), patient)
			defer cancel()
			cmd := w.command(ctx, "openshell-vm", append(args, witness, "both", fmt.Sprint(size))...)
			var out streamtest.Sum
			var said capture.Buffer
			cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &said
			began := time.Now()
			err := cmd.Run()
			if err != nil || out.String() != want.Sum() || !strings.Contains(said.String(), "in "+in.Sum()+"\nout "+want.Sum()+"\n") {
				t.Errorf("%s -i: %v\nsent     %s\nexpected %s\narrived  %s\ninside: %s", name, err, in.Sum(), want.Sum(), &out, &said)
			}
			t.Logf("%-6s %s -i: %d MiB each way in %v", e.driver, name, size>>20, time.Since(began).Round(10*time.Millisecond))
		}
	})
}

// beats is where the commands of TestClientKilled show that they live.
const beats = "/tmp/beat"

// lastBeat returns when the command last showed that it lives.
func (w *world) lastBeat(box string) (beat time.Time) {
	w.Helper()
	n, err := strconv.ParseInt(strings.TrimSpace(w.run("exec", box, "cat", beats)), 10, 64)
	w.must(err)
	return time.Unix(0, n)
}

// TestClientKilled kills a client. Its command has to end, however much of the client's input
// is unread. The promise is one second; the test waits longer, and logs the time.
func TestClientKilled(t *testing.T) {
	eachEngine(t, func(t *testing.T, w *world, e engine) {
		w.run(append(w.withWitness(e, "run", "-d", "--name", "box"), "--", "sleep", "1000000")...)
		for name, flags := range map[string][]string{"exec": nil, "exec -i": {"-i"}, "exec -it": {"-it"}} {
			cmd := w.command(context.Background(), "openshell-vm", append(append([]string{"exec"}, flags...), "box", witness, "beat", beats)...)
			defer w.connect(cmd, name)()
			first := w.lastBeat("box")
			w.eventually(name+": the command lives", patience, func() bool { return w.lastBeat("box").After(first) })
			w.must(cmd.Process.Kill())
			killed := time.Now()
			_ = cmd.Wait() // says that it was killed
			last := w.lastBeat("box")
			w.eventually(name+": the command of a client that was killed ends", patience, func() bool {
				before := last
				time.Sleep(time.Second)
				last = w.lastBeat("box")
				return last.Equal(before)
			})
			t.Logf("%-6s %-8s lived for %v after its client", e.driver, name, max(0, last.Sub(killed)).Round(time.Millisecond))
		}
	})
}

// connect starts a client of "beat" and returns when the command runs. If the client takes
// input, it gets more than anybody reads.
func (w *world) connect(cmd *exec.Cmd, how string) (end func()) {
	w.Helper()
	said := &capture.Buffer{}
	var input io.Writer
	end = func() {}
	switch how {
	case "exec -it":
		terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
		w.must(err)
		go func() { _, _ = io.Copy(said, terminal) }()
		input, end = terminal, func() { terminal.Close() }
	case "exec -i":
		pipe, err := cmd.StdinPipe()
		w.must(err)
		input = pipe
		fallthrough
	default:
		cmd.Stdout = said
		w.must(cmd.Start())
	}
	w.eventually("the command runs", patience, func() bool { return strings.Contains(said.String(), "ready") })
	if input != nil {
		var in flood
		go func() { _, _ = io.Copy(input, &in) }()
		w.eventually("its input is full", patience, func() bool {
			before := in.given.Load()
			time.Sleep(300 * time.Millisecond)
			return before > 0 && before == in.given.Load()
		})
	}
	return end
}

// flood is an endless stream of lines of text. Other bytes, typed on a terminal, could stop a
// command.
type flood struct{ given atomic.Int64 }

func (f *flood) Read(p []byte) (int, error) {
	const line = "unread\n"
	n := 0
	for n+len(line) <= len(p) {
		n += copy(p[n:], line)
	}
	f.given.Add(int64(n))
	return n, nil
}

// TestSlowReader attaches a client that reads late. The output of a VM has to wait for it,
// however much there is, and also after the workload's end. Nothing else may wait for it.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	w := newWorld(t, os.Getuid())
	e := engines[0]
	for name, size := range map[string]int{"more-than-the-log-keeps": 48 << 20, "all-in-the-log": 8 << 20} {
		t.Run(name, func(t *testing.T) {
			w := w.as(t)
			want := streamtest.NewSource(size)
			if _, err := io.Copy(io.Discard, want); err != nil {
				t.Fatal(err)
			}
			r, wr, err := os.Pipe()
			w.must(err)
			defer r.Close()
			cmd := w.command(context.Background(), "openshell-vm", append(w.withWitness(e, "run", "--name", name), "--", witness, "give", fmt.Sprint(size))...)
			said := &capture.Buffer{}
			cmd.Stdout, cmd.Stderr = wr, said
			w.must(cmd.Start())
			wr.Close()
			w.eventually("it waits, or has ended", 5*patience, func() bool {
				line := w.try("ps", "-a").stdout
				return strings.Contains(line, "does not read") || strings.Contains(line, "exited (0)")
			})
			if size > 30<<20 {
				if out := w.run("exec", name, "echo", "hello"); out != "hello\n" {
					t.Errorf("exec: %q", out)
				}
				w.run("logs", name)
			} else {
				w.run("wait", name)
			}
			var got streamtest.Sum
			if _, err := io.Copy(&got, r); err != nil {
				t.Error(err)
			}
			if err := cmd.Wait(); err != nil || got.String() != want.Sum() || said.String() != want.Sum()+"\n" {
				t.Errorf("%v\nwritten %s\narrived %s\nsaid %s", err, want.Sum(), &got, said)
			}
			w.run("rm", name)
		})
	}
}

// TestStuckReader attaches a client that reads nothing. It must not delay stop and rm. When it
// reads after all, it learns how the sandbox ended.
func TestStuckReader(t *testing.T) {
	t.Parallel()
	w := newWorld(t, os.Getuid())
	for _, name := range []string{"stop", "rm"} {
		r, wr, err := os.Pipe()
		w.must(err)
		defer r.Close()
		cmd := w.command(context.Background(), "openshell-vm", append(w.withWitness(engines[0], "run", "--ephemeral", "--name", name), "--", witness, "give", "1000000000")...)
		cmd.Stdout = wr
		w.must(cmd.Start())
		wr.Close()
		w.eventually("it waits", 5*patience, func() bool { return strings.Contains(w.try("ps").stdout, "does not read") })
		if name == "stop" {
			w.run("stop", name)
			w.run("start", name)
		}
		w.run("rm", "-f", name)
		_, err = io.Copy(io.Discard, r)
		w.must(err)
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != map[string]int{"stop": 143, "rm": 137}[name] {
			t.Errorf("%s: the client ends with %v", name, err)
		}
	}
}
