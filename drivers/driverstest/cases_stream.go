package driverstest

import (
	"context"
	"errors"
	"fmt"
	"io"
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

// late sums what is written to it, the first of it only after a while.
type late struct {
	streamtest.Sum
	once sync.Once
}

func (l *late) Write(p []byte) (int, error) {
	l.once.Do(func() { time.Sleep(2 * time.Second) })
	return l.Sum.Write(p)
}

// detachTerminal: a client that detaches or dies types nothing; the workload goes
// on, and the next client talks to it.
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

// flood sends input that nobody reads.
func (s *session) flood() {
	go func() { _, _ = io.Copy(s.stdin, streamtest.NewSource(streamtest.Big)) }()
}

// unreadInput: it keeps no signal from a command, and no end from the command
// of a client that is gone.
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
