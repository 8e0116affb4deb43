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
	"openshell-vm/internal/stream"
	"openshell-vm/internal/stream/streamtest"
)

// bigInput: much input reaches a workload and a command that sleep first, whole.
func bigInput(t *testing.T, s *suite) string {
	b := s.box(t, func(b *box) {
		b.runs("sum")
		b.spec.Stdin = true
	})
	check := func(name string, client *session) {
		t.Helper()
		in := streamtest.NewSource(streamtest.Big)
		if _, err := io.Copy(client.stdin, in); err != nil {
			t.Fatal(err)
		}
		client.stdin.Close()
		out, code := client.rest()
		if code != 0 || len(out) != 1 || out[0] != in.Sum() {
			t.Errorf("%s: code %d; sent %s, came %q", name, code, in.Sum(), out)
		}
	}
	check("workload", b.run(true))
	b = s.box(t, nil)
	b.run(false).expect("ready")
	check("command", b.exec(drivers.Process{Args: []string{b.tool, "sum"}}, true))
	return fmt.Sprintf("%d MiB each", streamtest.Big>>20)
}

// bigOutput: much output reaches a client that reads late, whole.
func bigOutput(t *testing.T, s *suite) string {
	b := s.box(t, nil)
	b.run(false).expect("ready")
	var got late
	var said capture.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	code, err := b.driver.(drivers.Execer).Exec(ctx, b.id, drivers.Process{Args: []string{b.tool, "give", fmt.Sprint(streamtest.Big)}},
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
func detachTerminal(t *testing.T, s *suite) string {
	const times = 5
	b := s.box(t, func(b *box) {
		b.shell("stty -echo; echo ready; while read line; do echo got $line; done; echo ended")
		b.spec.Process.Terminal, b.spec.Stdin = true, true
	})
	client := b.run(true)
	client.expect("ready")
	for i := range times {
		if _, err := fmt.Fprintf(client.stdin, "%d\n", i); err != nil {
			t.Fatal(err)
		}
		client.expect(fmt.Sprintf("got %d", i))
		client.stdin.CloseWithError(stream.ErrHangup) // as the gateway ends the input of a client that is gone
		client.detach()
		client = b.attach(false, true)
	}
	if _, err := io.WriteString(client.stdin, "last\n"); err != nil {
		t.Fatal(err)
	}
	client.expect("got last")
	client.stdin.Close()
	if out, code := client.rest(); code != 0 || len(out) == 0 || out[len(out)-1] != "ended" {
		t.Errorf("after the end of input: code %d, %q", code, out)
	}
	return fmt.Sprintf("%d times", times)
}

// deadInput: the command of a client that dies is killed, and sees no end of its input
// before. Else it would take half of the input for the whole.
func deadInput(t *testing.T, s *suite) string {
	const times = 10
	b := s.box(t, nil)
	b.run(false).expect("ready")
	for i := range times {
		client := b.exec(drivers.Process{Args: []string{"sh", "-c", "echo ready; cat >/tmp/half; mv /tmp/half /tmp/whole"}}, true)
		client.expect("ready")
		if _, err := io.WriteString(client.stdin, "half"); err != nil {
			t.Fatal(err)
		}
		client.stdin.CloseWithError(stream.ErrHangup)
		client.detach()
		s.eventually(t, func() error {
			out, _ := b.exec(drivers.Process{Args: []string{"ps"}}, false).rest()
			if strings.Contains(strings.Join(out, "\n"), "mv /tmp/half") {
				return errors.New("the command of a client that is gone still runs")
			}
			return nil
		})
		if out, code := b.exec(drivers.Process{Args: []string{"ls", "/tmp"}}, false).rest(); code != 0 || slices.Contains(out, "whole") {
			t.Fatalf("time %d: half of the input was taken for all: code %d, %q", i+1, code, out)
		}
	}
	return fmt.Sprintf("%d times", times)
}

// endsUnread: what ends with unread input ends with its own exit code.
func endsUnread(t *testing.T, s *suite) string {
	const script = "echo ready; sleep 1; exit 7"
	check := func(name string, client *session) {
		t.Helper()
		client.expect("ready")
		client.flood()
		if _, code := client.rest(); code != 7 {
			t.Errorf("%s: code %d", name, code)
		}
	}
	b := s.box(t, func(b *box) {
		b.shell(script)
		b.spec.Stdin = true
	})
	check("workload", b.run(true))
	b = s.box(t, nil)
	b.run(false).expect("ready")
	for range 5 {
		check("command", b.exec(drivers.Process{Args: []string{"sh", "-c", script}}, true))
	}
	return ""
}

// flood sends input that nobody reads.
func (s *session) flood() {
	go func() { _, _ = io.Copy(s.stdin, streamtest.NewSource(streamtest.Big)) }()
}

// unreadInput: signals reach a command that does not read its input, and it is ended
// when its client is gone.
func unreadInput(t *testing.T, s *suite) string {
	b := s.box(t, nil)
	b.run(false).expect("ready")
	client := b.exec(drivers.Process{Args: []string{b.tool, "signals"}}, true)
	client.expect("ready")
	client.flood()
	client.signal <- 10
	client.expect("10")
	client.detach()
	s.eventually(t, func() error {
		out, _ := b.exec(drivers.Process{Args: []string{"ps"}}, false).rest()
		if strings.Contains(strings.Join(out, "\n"), "witness signals") {
			return errors.New("the command of a client that is gone still runs")
		}
		return nil
	})
	return ""
}
