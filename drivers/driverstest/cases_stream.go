package driverstest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/capture"
	"openshell-vm/drivers/driverstest/fixture"
	"openshell-vm/internal/stream"
	"openshell-vm/internal/stream/streamtest"
)

// bigInput: much input reaches a workload and a command that sleep first, whole.
func bigInput(t *testing.T, s *fixture.Suite) string {
	size := streamtest.Big
	if s.Guest {
		size /= 4 // which is still more than all that lies between the two
	}
	b := s.Box(t, func(b *fixture.Box) {
		b.Runs("sum")
		b.Spec.Stdin = true
	})
	check := func(name string, client *fixture.Session) {
		t.Helper()
		in := streamtest.NewSource(size)
		if _, err := io.Copy(client.Stdin, in); err != nil {
			t.Fatal(err)
		}
		client.Stdin.Close()
		out, code := client.Rest()
		if code != 0 || len(out) != 1 || out[0] != in.Sum() {
			t.Errorf("%s: code %d; sent %s, came %q", name, code, in.Sum(), out)
		}
	}
	check("workload", b.Run(true))
	b = s.Box(t, nil)
	b.Run(false).Expect("ready")
	check("command", b.Exec(drivers.Process{Args: []string{b.Tool, "sum"}}, true))
	return fmt.Sprintf("%d MiB each", size>>20)
}

// bigOutput: much output reaches a client that reads late, whole.
func bigOutput(t *testing.T, s *fixture.Suite) string {
	b := s.Box(t, nil)
	b.Run(false).Expect("ready")
	var got late
	var said capture.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 2*fixture.Patience)
	defer cancel()
	code, err := b.Driver.(drivers.Execer).Exec(ctx, b.ID, drivers.Process{Args: []string{b.Tool, "give", fmt.Sprint(streamtest.Big)}},
		drivers.Streams{Stdout: &got, Stderr: &said})
	if code != 0 || err != nil || strings.TrimSpace(said.String()) != got.String() {
		t.Errorf("code %d, %v; the command gave %q, came %s", code, err, said.String(), got.String())
	}
	return fmt.Sprintf("%d MiB", streamtest.Big>>20)
}

// late sums what is written to it, and takes the first of it only after a while.
type late struct {
	streamtest.Sum
	once sync.Once
}

func (l *late) Write(p []byte) (int, error) {
	l.once.Do(func() { time.Sleep(2 * time.Second) })
	return l.Sum.Write(p)
}

// detachTerminal: a client that detaches or dies types nothing. The workload goes on, and
// the next client talks to it.
func detachTerminal(t *testing.T, s *fixture.Suite) string {
	const times = 5
	b := s.Box(t, func(b *fixture.Box) {
		b.Shell("stty -echo; echo ready; while read line; do echo got $line; done; echo ended")
		b.Spec.Process.Terminal, b.Spec.Stdin = true, true
	})
	client := b.Run(true)
	client.Expect("ready")
	for i := range times {
		if _, err := fmt.Fprintf(client.Stdin, "%d\n", i); err != nil {
			t.Fatal(err)
		}
		client.Expect(fmt.Sprintf("got %d", i))
		client.Stdin.CloseWithError(stream.ErrHangup) // as the gateway ends the input of a client that is gone
		client.Detach()
		client = b.Attach(false, true)
	}
	if _, err := io.WriteString(client.Stdin, "last\n"); err != nil {
		t.Fatal(err)
	}
	client.Expect("got last")
	client.Stdin.Close()
	if out, code := client.Rest(); code != 0 || len(out) == 0 || out[len(out)-1] != "ended" {
		t.Errorf("after the end of input: code %d, %q", code, out)
	}
	return fmt.Sprintf("%d times", times)
}

// deadInput: the command of a client that dies is killed, and sees no end of its input
// before. Else it would take half of the input for the whole.
func deadInput(t *testing.T, s *fixture.Suite) string {
	const times = 10
	b := s.Box(t, nil)
	b.Run(false).Expect("ready")
	for i := range times {
		client := b.Exec(drivers.Process{Args: []string{"sh", "-c", "echo ready; cat >/tmp/half; mv /tmp/half /tmp/whole"}}, true)
		client.Expect("ready")
		if _, err := io.WriteString(client.Stdin, "half"); err != nil {
			t.Fatal(err)
		}
		client.Stdin.CloseWithError(stream.ErrHangup)
		client.Detach()
		s.Eventually(t, func() error {
			out, _ := b.Exec(drivers.Process{Args: []string{"ps"}}, false).Rest()
			if strings.Contains(strings.Join(out, "\n"), "mv /tmp/half") {
				return errors.New("the command of a client that is gone still runs")
			}
			return nil
		})
		if out, code := b.Exec(drivers.Process{Args: []string{"ls", "/tmp"}}, false).Rest(); code != 0 || slices.Contains(out, "whole") {
			t.Fatalf("time %d: half of the input was taken for all: code %d, %q", i+1, code, out)
		}
	}
	return fmt.Sprintf("%d times", times)
}

// endsUnread: what ends with unread input ends with its own exit code.
func endsUnread(t *testing.T, s *fixture.Suite) string {
	const script = "echo ready; sleep 1; exit 7"
	check := func(name string, client *fixture.Session) {
		t.Helper()
		client.Expect("ready")
		flood(client)
		if _, code := client.Rest(); code != 7 {
			t.Errorf("%s: code %d", name, code)
		}
	}
	b := s.Box(t, func(b *fixture.Box) {
		b.Shell(script)
		b.Spec.Stdin = true
	})
	check("workload", b.Run(true))
	b = s.Box(t, nil)
	b.Run(false).Expect("ready")
	for range 5 {
		check("command", b.Exec(drivers.Process{Args: []string{"sh", "-c", script}}, true))
	}
	return ""
}

// flood sends input that nobody reads.
func flood(s *fixture.Session) {
	go func() { _, _ = io.Copy(s.Stdin, streamtest.NewSource(streamtest.Big)) }()
}

// unreadInput: signals reach a command that does not read its input, and it is ended
// when its client is gone.
func unreadInput(t *testing.T, s *fixture.Suite) string {
	b := s.Box(t, nil)
	b.Run(false).Expect("ready")
	client := b.Exec(drivers.Process{Args: []string{b.Tool, "signals"}}, true)
	client.Expect("ready")
	flood(client)
	client.Signal <- 10
	client.Expect("10")
	client.Detach()
	s.Eventually(t, func() error {
		out, _ := b.Exec(drivers.Process{Args: []string{"ps"}}, false).Rest()
		if strings.Contains(strings.Join(out, "\n"), "witness signals") {
			return errors.New("the command of a client that is gone still runs")
		}
		return nil
	})
	return ""
}
