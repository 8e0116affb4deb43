// Package streamtest is the test kit that each hop of package stream passes: a
// slow reader, a dead client, much input, a signal behind input, many sessions.
package streamtest

import (
	"bytes"
	"context"
	"io"
	"sync"
	"testing"
	"time"

	"openshell-vm/internal/stream"
	"openshell-vm/internal/stream/streamtest/source"
)

// Process plays a process at the far end of a hop. ctx ends when its client is gone. It
// returns its exit code.
type Process func(ctx context.Context, s stream.Streams) (code int)

// Run runs p at the far end of a hop; the client's ends are here, as with drivers.Execer. It
// may be called concurrently.
type Run func(ctx context.Context, ends stream.Streams, p Process) (code int, err error)

// Serve runs p as the process of session s, and sends its exit code.
func Serve(c *stream.Conn, s *stream.Session, p Process) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		defer cancel()
		select {
		case <-s.Done():
		case <-ctx.Done():
		}
	}()
	s.Exit(p(ctx, s.Streams()))
	_ = c.Flush(ctx) // fails if the client is gone
	s.Close()
}

// Big is how much the big cases send, in bytes.
const Big = 32 << 20

// patience bounds one wait for something to happen.
const patience = 60 * time.Second

// Test runs all cases over the hop that open makes.
func Test(t *testing.T, open func(t *testing.T) Run) {
	for name, c := range map[string]func(*testing.T, Run){
		"input to a reader that sleeps first":  InputWaits,
		"output to a client that sleeps first": OutputWaits,
		"a client that dies":                   DeadClient,
		"signals and sizes behind input":       SignalBehindInput,
		"50 sessions, one of them stuck":       Sessions,
		"an end of input is no hang-up":        Ends,
	} {
		t.Run(name, func(t *testing.T) { c(t, open(t)) })
	}
}

// TestAttached runs the cases of a hop to a process that many clients share. A client that
// dies ends neither the process nor its input, and the process does not wait for it any more.
func TestAttached(t *testing.T, open func(t *testing.T) Run) {
	for name, c := range map[string]func(*testing.T, Run){
		"input to a reader that sleeps first":           InputWaits,
		"output to a client that sleeps first":          OutputWaits,
		"signals and sizes behind input":                SignalBehindInput,
		"a client that does not read, and dies":         DeadReader,
		"an end of input":                               EndOfInput,
		"a client that does not read after the process": LateReader,
	} {
		t.Run(name, func(t *testing.T) { c(t, open(t)) })
	}
}

// InputWaits sends Big bytes to a process that reads nothing until its client can't send
// more. All of them have to arrive.
func InputWaits(t *testing.T, run Run) {
	in, read := NewSource(Big), make(chan struct{})
	var got Sum
	done := start(t, run, stream.Streams{Stdin: in}, func(ctx context.Context, s stream.Streams) int {
		<-read
		_, err := io.Copy(&got, s.Stdin)
		return code(err)
	})
	awaitStall(t, in)
	close(read)
	wantCode(t, done, 0)
	if in.Sum() != got.String() {
		t.Errorf("sent %v, arrived %v", in.Sum(), &got)
	}
}

// OutputWaits sends Big bytes to a client that reads nothing until the process can't send
// more. All of them have to arrive, and then the exit code.
func OutputWaits(t *testing.T, run Run) {
	out, read := NewSource(Big), make(chan struct{})
	var got Sum
	done := start(t, run, stream.Streams{Stdout: gated{read, &got}}, func(ctx context.Context, s stream.Streams) int {
		_, err := io.Copy(s.Stdout, out)
		return code(err) + 3
	})
	awaitStall(t, out)
	close(read)
	wantCode(t, done, 3)
	if out.Sum() != got.String() {
		t.Errorf("sent %v, arrived %v", out.Sum(), &got)
	}
}

// DeadClient lets a client die while its input is unread. Its process has to end.
func DeadClient(t *testing.T, run Run) {
	in, begun, ended := NewSource(Big), make(chan struct{}), make(chan struct{})
	ctx, die := context.WithCancel(t.Context())
	go run(ctx, stream.Streams{Stdin: in}, func(ctx context.Context, s stream.Streams) int {
		close(begun)
		<-ctx.Done()
		close(ended)
		return 1
	})
	await(t, begun, "the process does not begin")
	awaitStall(t, in)
	die()
	await(t, ended, "the process lives on")
}

// DeadReader lets a process wait for a client that does not read. When the client dies, the
// process has to go on.
func DeadReader(t *testing.T, run Run) {
	out, ended := NewSource(Big), make(chan error, 1)
	ctx, die := context.WithCancel(t.Context())
	never := make(chan struct{})
	defer close(never)
	go run(ctx, stream.Streams{Stdout: gated{never, io.Discard}}, func(_ context.Context, s stream.Streams) int {
		_, err := io.Copy(s.Stdout, out)
		ended <- err
		return code(err)
	})
	awaitStall(t, out)
	die()
	if err := await(t, ended, "the process still waits"); err != nil {
		t.Error(err)
	}
}

// LateReader lets a client begin to read long after the process has ended. It has to get all
// output and the exit code.
func LateReader(t *testing.T, run Run) {
	const size = 20 << 20
	out, ended, read := NewSource(size), make(chan struct{}), make(chan struct{})
	var got Sum
	done := start(t, run, stream.Streams{Stdout: gated{read, &got}}, func(_ context.Context, s stream.Streams) int {
		_, err := io.Copy(s.Stdout, out)
		close(ended)
		return code(err) + 4
	})
	await(t, ended, "the process does not end")
	time.Sleep(lateness)
	close(read)
	wantCode(t, done, 4)
	if out.Sum() != got.String() {
		t.Errorf("sent %v, arrived %v", out.Sum(), &got)
	}
}

// lateness is longer than any deadline for the last clients of a sandbox that has ended.
const lateness = 8 * time.Second

// SignalBehindInput sends a signal and a size behind input that nobody reads. Neither may
// wait for it.
func SignalBehindInput(t *testing.T, run Run) {
	in, signals, sizes, begun := NewSource(Big), make(chan int), make(chan stream.Size), make(chan struct{})
	done := start(t, run, stream.Streams{Stdin: in, Signals: signals, Resize: sizes}, func(ctx context.Context, s stream.Streams) int {
		close(begun) // a signal before that is lost, or ends it
		select {
		case size := <-s.Resize:
			if size != (stream.Size{Rows: 24, Cols: 80}) {
				return 1
			}
		case <-ctx.Done():
			return 2
		}
		select {
		case n := <-s.Signals:
			return 128 + n
		case <-ctx.Done():
			return 2
		}
	})
	await(t, begun, "the process does not begin")
	awaitStall(t, in)
	sizes <- stream.Size{Rows: 24, Cols: 80}
	signals <- 2
	wantCode(t, done, 130)
}

// Sessions opens 50 sessions. One does not read, and must not hold up the others.
func Sessions(t *testing.T, run Run) {
	stuck := NewSource(Big)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go run(ctx, stream.Streams{Stdin: stuck}, func(ctx context.Context, s stream.Streams) int { <-ctx.Done(); return 1 })
	awaitStall(t, stuck)
	var all sync.WaitGroup
	for i := range 49 {
		all.Go(func() {
			in := NewSource(stream.Window + 10_000*i)
			var got Sum
			code, err := run(ctx, stream.Streams{Stdin: in, Stdout: &got}, func(ctx context.Context, s stream.Streams) int {
				_, err := io.Copy(s.Stdout, s.Stdin)
				return code(err) + i
			})
			if code != i || err != nil || in.Sum() != got.String() {
				t.Errorf("session %d: code %d, %v; sent %v, arrived %v", i, code, err, in.Sum(), &got)
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	await(t, done, "the other sessions do not end")
}

// EndOfInput checks that the end of input is io.EOF, after all input.
func EndOfInput(t *testing.T, run Run) {
	done := start(t, run, stream.Streams{Stdin: bytes.NewReader([]byte("hello"))}, func(_ context.Context, s stream.Streams) int {
		data, err := io.ReadAll(s.Stdin)
		return code(err) + len(data)
	})
	wantCode(t, done, 5)
}

// Ends checks that the end of input is io.EOF, and a hang-up another error.
func Ends(t *testing.T, run Run) {
	EndOfInput(t, run)
	r, w := io.Pipe()
	defer w.Close()
	ctx, die := context.WithCancel(t.Context())
	begun, ended := make(chan struct{}), make(chan error, 1)
	go run(ctx, stream.Streams{Stdin: r}, func(_ context.Context, s stream.Streams) int {
		close(begun)
		_, err := io.ReadAll(s.Stdin)
		ended <- err
		return 1
	})
	await(t, begun, "the process does not begin")
	die()
	if err := await(t, ended, "the input does not end"); err == nil {
		t.Error("a hang-up looks like an end of input")
	}
}

func code(err error) int {
	if err != nil {
		return 100
	}
	return 0
}

type outcome struct {
	code int
	err  error
}

func start(t *testing.T, run Run, ends stream.Streams, p Process) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		code, err := run(t.Context(), ends, p)
		done <- outcome{code, err}
	}()
	return done
}

func wantCode(t *testing.T, done <-chan outcome, want int) {
	t.Helper()
	if o := await(t, done, "the process does not end"); o.code != want || o.err != nil {
		t.Errorf("code %d, %v; %d is wanted", o.code, o.err, want)
	}
}

func await[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal(what)
		panic("unreachable")
	}
}

// Source is source.Source.
type Source = source.Source

// NewSource returns a Source of n bytes.
func NewSource(n int) *Source { return source.New(n) }

// Sum is source.Sum.
type Sum = source.Sum

// awaitStall waits until some bytes were read and then none for a while. It checks that not
// all were read: the bytes that wait in between have to be bounded.
func awaitStall(t *testing.T, s *Source) {
	t.Helper()
	last, since := int64(0), time.Now()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if now := s.Given(); now != last {
			last, since = now, time.Now()
		}
		switch {
		case last == Big:
			t.Fatal("all was taken though nobody reads")
		case last > 0 && time.Since(since) > 300*time.Millisecond:
			return
		case time.Now().After(deadline):
			t.Fatalf("after %d bytes it still goes on", last)
		}
	}
}

// gated holds writes back until open is closed.
type gated struct {
	open <-chan struct{}
	w    io.Writer
}

func (g gated) Write(p []byte) (int, error) {
	<-g.open
	return g.w.Write(p)
}
