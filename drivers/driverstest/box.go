package driverstest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/capture"
	"openshell-vm/drivers/driverstest/content"
	"openshell-vm/share"
)

// box is one sandbox with a share of its own.
type box struct {
	t      *testing.T
	s      *suite
	driver drivers.Driver
	id     string
	spec   drivers.Spec
	share  *share.Share
	tool   string // the witness's path inside
}

// box makes a share with a first generation, and a sandbox. Its workload only waits,
// unless change gives it another. Both are gone at the test's end.
func (s *suite) box(t *testing.T, change func(b *box)) *box {
	t.Helper()
	b := s.prepare(t, change)
	spec, staleness, err := b.driver.Resolve(t.Context(), b.spec)
	if err != nil {
		t.Fatalf("resolve: %v", err)
	}
	if staleness <= 0 || staleness > 10*time.Second {
		t.Fatalf("staleness %v", staleness)
	}
	b.spec = spec
	if err := b.driver.Create(t.Context(), b.spec); err != nil {
		t.Fatalf("create: %s", told(err))
	}
	return b
}

// prepare does what box does, but for Resolve and Create.
func (s *suite) prepare(t *testing.T, change func(b *box)) *box {
	t.Helper()
	b := &box{t: t, s: s, driver: s.driver, id: newID()}
	var err error
	b.share, err = share.Create(filepath.Join(s.state, "shares", b.id), share.Options{})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(s.state, "sandboxes", b.id)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	b.spec = drivers.Spec{
		ID: b.id, Name: "box-" + b.id, GatewayID: s.gateway, Dir: dir,
		Auth: mount(t, b.share.AuthDir(), drivers.AuthDir), Hidden: []string{s.state},
	}
	s.Complete(t, &b.spec)
	if s.Witness != nil {
		b.tool = s.Witness(t, s.witness, &b.spec)
	} else {
		b.mount(filepath.Dir(s.witness), "/opt/suite")
		b.tool = "/opt/suite/" + filepath.Base(s.witness)
	}
	b.runs("hold")
	if change != nil {
		change(b)
	}
	b.publish()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if t.Failed() {
			b.logConsole(ctx)
		}
		if err := b.driver.Remove(ctx, b.id); err != nil {
			t.Errorf("remove: %v", err)
		}
		if err := b.share.Remove(ctx); err != nil {
			t.Errorf("remove the share: %v", err)
		}
	})
	return b
}

// logConsole shows the end of what a guest's kernel and init said.
func (b *box) logConsole(ctx context.Context) {
	status, err := b.driver.Inspect(ctx, b.id)
	if err != nil {
		return
	}
	b.t.Logf("%s: %s, %s", b.spec.Name, status.State, status.Reason)
	for _, f := range status.Details {
		if f.Name == "console log" {
			text, _ := os.ReadFile(f.Value)
			b.t.Logf("its console:\n%s", text[max(0, len(text)-4000):])
		}
	}
}

// runs makes the witness the workload.
func (b *box) runs(args ...string) { b.spec.Process.Args = append([]string{b.tool}, args...) }

// shell makes a script the workload.
func (b *box) shell(script string) { b.spec.Process.Args = []string{"/bin/sh", "-c", script} }

func (b *box) mount(source, target string) {
	b.t.Helper()
	b.spec.Mounts = append(b.spec.Mounts, mount(b.t, source, target))
}

func mount(t testing.TB, source, target string) drivers.Mount {
	t.Helper()
	m, err := drivers.NewMount(source, target)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// publish makes a new generation and returns it and its content.
func (b *box) publish() (generation uint64, token []byte) {
	b.t.Helper()
	p, err := b.share.Publish(b.t.Context(), 0, func(n uint64) ([]share.File, error) {
		token = content.New(n)
		return []share.File{{Name: "sandbox.jwt", Data: token}, {Name: "metadata.json", Data: metadataOf(n, b.s.gateway)}}, nil
	})
	if err != nil {
		b.t.Fatalf("publish: %v", err)
	}
	return p.Generation, token
}

// told is an error with its hint, as a user reads it.
func told(err error) string {
	if hint := drivers.HintOf(err); hint != "" {
		return fmt.Sprintf("%v (%s)", err, hint)
	}
	return err.Error()
}

func (b *box) start() {
	b.t.Helper()
	if err := b.driver.Start(b.t.Context(), b.id); err != nil {
		b.t.Fatalf("start: %s", told(err))
	}
}

func (b *box) stop(grace time.Duration) {
	b.t.Helper()
	if err := b.driver.Stop(b.t.Context(), b.id, grace); err != nil {
		b.t.Fatalf("stop: %v", err)
	}
}

func (b *box) inspect() drivers.Status {
	b.t.Helper()
	s, err := b.driver.Inspect(b.t.Context(), b.id)
	if err != nil {
		b.t.Fatalf("inspect: %v", err)
	}
	return s
}

// ended waits for the end.
func (b *box) ended() drivers.Status {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	if w, ok := b.driver.(drivers.Waiter); ok {
		s, err := w.Wait(ctx, b.id)
		if err != nil {
			b.t.Fatalf("wait: %v", err)
		}
		return s
	}
	for {
		if s := b.inspect(); s.State != drivers.Running {
			return s
		}
		if ctx.Err() != nil {
			b.t.Fatal("it does not end")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// session is an attached client, or an exec's.
type session struct {
	t      *testing.T
	lines  chan string // stdout
	stderr capture.Buffer
	size   chan drivers.Size
	signal chan int
	stdin  *io.PipeWriter
	cancel context.CancelFunc
	done   chan struct{}
	code   int
	err    error
}

// attach connects, and returns at once; a start may follow.
func (b *box) attach(replay, stdin bool) *session {
	b.t.Helper()
	attacher, ok := b.driver.(drivers.Attacher)
	if !ok {
		b.t.Fatal("this driver can't attach")
	}
	return newSession(b.t, stdin, func(ctx context.Context, s drivers.Streams) (int, error) {
		return attacher.Attach(ctx, b.id, replay, s)
	})
}

// exec runs a further command.
func (b *box) exec(p drivers.Process, stdin bool) *session {
	b.t.Helper()
	execer, ok := b.driver.(drivers.Execer)
	if !ok {
		b.t.Fatal("this driver can't exec")
	}
	return newSession(b.t, stdin, func(ctx context.Context, s drivers.Streams) (int, error) {
		return execer.Exec(ctx, b.id, p, s)
	})
}

// run starts with a client attached.
func (b *box) run(stdin bool) *session {
	b.t.Helper()
	s := b.attach(false, stdin)
	// Attach has no way to say that it has begun to wait for the start.
	time.Sleep(100 * time.Millisecond)
	b.start()
	return s
}

func newSession(t *testing.T, stdin bool, connect func(context.Context, drivers.Streams) (int, error)) *session {
	ctx, cancel := context.WithCancel(t.Context())
	s := &session{
		t: t, lines: make(chan string, 1<<16), cancel: cancel, done: make(chan struct{}),
		size: make(chan drivers.Size, 1), signal: make(chan int, 1),
	}
	out, outWriter := io.Pipe()
	streams := drivers.Streams{Stdout: outWriter, Stderr: &s.stderr, Resize: s.size, Signals: s.signal}
	if stdin {
		var in *io.PipeReader
		in, s.stdin = io.Pipe()
		streams.Stdin = in
		t.Cleanup(func() { in.Close() })
	}
	go func() {
		defer close(s.lines)
		scanner := bufio.NewScanner(out)
		scanner.Buffer(nil, 1<<20)
		for scanner.Scan() {
			s.lines <- string(bytes.TrimRight(scanner.Bytes(), "\r"))
		}
	}()
	go func() {
		defer close(s.done)
		s.code, s.err = connect(ctx, streams)
		outWriter.Close()
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case <-s.done:
		case <-time.After(patience):
			t.Error("a session does not end when it is cancelled")
		}
	})
	return s
}

// line is the next line of the output.
func (s *session) line() string {
	s.t.Helper()
	select {
	case l, ok := <-s.lines:
		if !ok {
			<-s.done
			s.t.Fatalf("the output ended: code %d, error %v, stderr %q", s.code, s.err, s.stderr.String())
		}
		return l
	case <-time.After(patience):
		s.t.Fatal("no line comes")
	}
	return ""
}

// expect reads up to the line that is wanted.
func (s *session) expect(want string) {
	s.t.Helper()
	for {
		if l := s.line(); l == want {
			return
		} else if len(l) > 0 {
			s.t.Logf("passed over %q", l)
		}
	}
}

// rest is the output to its end, and how it ended.
func (s *session) rest() (lines []string, code int) {
	s.t.Helper()
	for more := true; more; {
		select {
		case l, ok := <-s.lines:
			if more = ok; ok {
				lines = append(lines, l)
			}
		case <-time.After(patience):
			s.t.Fatal("the session does not end")
		}
	}
	<-s.done
	if s.err != nil {
		s.t.Fatalf("session: %s", told(s.err))
	}
	return lines, s.code
}

// detach cancels the session and sees that it ends as cancelled.
func (s *session) detach() {
	s.t.Helper()
	s.cancel()
	<-s.done
	if !errors.Is(s.err, context.Canceled) {
		s.t.Errorf("a cancelled session ended with %v", s.err)
	}
}
