package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/procfs"
	"openshell-vm/internal/stream"
	"openshell-vm/internal/stream/streamtest"
)

// hostOf returns both ends of a control port.
func hostOf(t *testing.T) (ours, theirs *stream.Conn) {
	near, far := net.Pipe()
	ours = stream.New(near, stream.Options{Credit: true})
	theirs = stream.New(far, stream.Options{Credit: true, Process: true})
	go ours.Run()
	go theirs.Run()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return ours, theirs
}

// runShell runs a script as an exec, outside the sandbox's root, and returns the host's
// end of its session.
func runShell(t *testing.T, ours, theirs *stream.Conn, p *procs, script string) *stream.Session {
	t.Helper()
	host, err := ours.Open()
	if err != nil {
		t.Fatal(err)
	}
	from, err := theirs.Accept(host.ID())
	if err != nil {
		t.Fatal(err)
	}
	s := newSession(from, p)
	child, err := s.openPipes(command{cred: syscall.Credential{Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid())}}, true)
	if err != nil {
		t.Fatal(err)
	}
	s.pid, s.done, err = p.start("/bin/sh", []string{"sh", "-c", script}, &syscall.ProcAttr{
		Files: []uintptr{child.in.Fd(), child.out.Fd(), child.err.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true}, Env: os.Environ(),
	})
	if err != nil {
		t.Fatal(err)
	}
	child.close()
	s.connect()
	go func() {
		status := <-s.done
		s.finish()
		s.stream.Exit(exitCode(status))
		s.stream.Close()
	}()
	return host
}

func converse(t *testing.T, host *stream.Session, ends stream.Streams) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	last, err := host.Connect(ctx, ends)
	if err != nil {
		t.Fatal(err)
	}
	code, _ := stream.DecodeExit(last.Payload)
	return code
}

// TestSessionLosesNothing sends a large input to a process that sleeps first and then
// writes all of it back.
func TestSessionLosesNothing(t *testing.T) {
	ours, theirs := hostOf(t)
	p := reaping(t)
	var out streamtest.Sum
	in := streamtest.NewSource(streamtest.Big)
	code := converse(t, runShell(t, ours, theirs, p, "sleep 0.5; cat; exit 3"), stream.Streams{Stdin: in, Stdout: &out})
	if code != 3 || out.String() != in.Sum() {
		t.Errorf("code %d, sent %s, came %s", code, in.Sum(), out.String())
	}
}

// stuff sends input until no more is taken.
func stuff(t *testing.T, host *stream.Session) {
	t.Helper()
	full, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer stop()
	if err := host.Send(full, stream.Stdin, make([]byte, streamtest.Big)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("what nobody reads is taken: %v", err)
	}
}

// TestSessionWithUnreadInput checks that unread input delays nothing else.
func TestSessionWithUnreadInput(t *testing.T) {
	ours, theirs := hostOf(t)
	p := reaping(t)
	unread := runShell(t, ours, theirs, p, "trap 'exit 42' TERM; echo ready; while :; do sleep 0.1; done")
	if f, err := unread.Next(t.Context()); string(f.Payload) != "ready\n" {
		t.Fatal(f, err)
	}
	stuff(t, unread)
	var out bytes.Buffer
	if code := converse(t, runShell(t, ours, theirs, p, "cat"), stream.Streams{Stdin: strings.NewReader("other"), Stdout: &out}); code != 0 || out.String() != "other" {
		t.Errorf("another exec: code %d, %q", code, out.String())
	}
	unread.Signal(int(unix.SIGTERM))
	if code := converse(t, unread, stream.Streams{}); code != 42 {
		t.Errorf("code %d after SIGTERM", code)
	}
}

// TestSessionIsKilledWithItsClient checks that an exec which the host aborts is killed
// with its child processes.
func TestSessionIsKilledWithItsClient(t *testing.T) {
	ours, theirs := hostOf(t)
	p := reaping(t)
	x := runShell(t, ours, theirs, p, "sleep 77777 & echo $!; wait")
	f, err := x.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stuff(t, x)
	x.Abort("its client is gone")
	child := strings.TrimSpace(string(f.Payload))
	for deadline := time.Now().Add(20 * time.Second); running(child); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the command lives on")
		}
	}
}

// running reports whether a process runs. A zombie does not.
func running(pid string) bool {
	n, err := strconv.Atoi(pid)
	return err == nil && procfs.Runs(n)
}

// TestSessionHangupEndsNoInput checks that the workload's terminal gets no end of input
// when the host hangs up.
func TestSessionHangupEndsNoInput(t *testing.T) {
	near, far := net.Pipe()
	_, from := stream.Single(far, stream.Options{Credit: true, Process: true})
	s := newSession(from, nil)
	read, written, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer written.Close()
	s.input, s.tty = written, written
	fed := make(chan struct{})
	go func() { s.feed(); close(fed) }()
	near.Close()
	<-fed
	read.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := read.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a hang-up typed %d bytes, %v", n, err)
	}
}
