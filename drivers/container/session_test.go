package container

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"openshell-vm/drivers"
)

// addressed is an engine that notes which container each request is about.
type addressed struct {
	*fake
	mu  sync.Mutex
	got []string
}

func (r *addressed) note(request, ref string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, request+": "+ref)
}

func (r *addressed) Logs(_ context.Context, ref string, _ bool, _ time.Time) (io.ReadCloser, error) {
	r.note("logs", ref)
	return io.NopCloser(strings.NewReader("")), nil
}

func (r *addressed) Attach(_ context.Context, ref string, _, _ bool) (Conn, error) {
	r.note("attach", ref)
	return nil, fmt.Errorf("nothing more is needed")
}

func (r *addressed) Kill(_ context.Context, ref string, _ int) error { r.note("kill", ref); return nil }

func (r *addressed) Resize(_ context.Context, ref string, _ drivers.Size) error {
	r.note("resize", ref)
	return nil
}

func (r *addressed) Wait(_ context.Context, ref string, _ bool) (int, error) {
	r.note("wait", ref)
	return 0, nil
}

func (r *addressed) ExecCreate(_ context.Context, ref string, _ drivers.Process, _ bool) (string, error) {
	r.note("exec", ref)
	return "", fmt.Errorf("nothing more is needed")
}

// TestSessionsGoByID: names of containers are anybody's to set and to take over,
// between one request and the next, too.
func TestSessionsGoByID(t *testing.T) {
	r := &addressed{fake: &fake{state: drivers.Running}}
	d := New(r, "gateway")
	if err := d.Create(t.Context(), testSpec(t)); err != nil {
		t.Fatal(err)
	}
	r.fake.state = drivers.Running
	ctx := t.Context()
	f, err := d.finder.find(ctx, testID)
	if err != nil {
		t.Fatal(err)
	}
	_ = d.Logs(ctx, testID, true, io.Discard, io.Discard)
	for _, replay := range []bool{true, false} {
		_, _ = d.Attach(ctx, testID, replay, drivers.Streams{Stdin: strings.NewReader(""), Stdout: io.Discard})
	}
	p, _ := d.connect(ctx, f, true, drivers.Streams{})
	p.Signal(2)
	_ = p.Resize(drivers.Size{Rows: 1, Cols: 1})
	<-d.exitOf(ctx, f)
	_, _ = d.Exec(ctx, testID, drivers.Process{Args: []string{"id"}}, drivers.Streams{})
	_ = d.Signal(ctx, testID, 15)

	r.mu.Lock()
	defer r.mu.Unlock()
	for _, request := range []string{"logs", "attach", "kill", "resize", "wait", "exec"} {
		if !slices.ContainsFunc(r.got, func(g string) bool { return strings.HasPrefix(g, request) }) {
			t.Errorf("no %s was asked for", request)
		}
	}
	for _, got := range r.got {
		if !strings.HasSuffix(got, ": "+f.ID) {
			t.Errorf("%s; the sandbox is %s", got, f.ID)
		}
	}
}

// breaking is an engine that breaks off the first attaches.
type breaking struct {
	*fake
	left int // how many
}

func (b *breaking) Attach(ctx context.Context, ref string, in, out bool) (Conn, error) {
	conn, err := b.fake.Attach(ctx, ref, in, out)
	if b.left--; b.left >= 0 {
		b.output.Close()
		return conn, err
	}
	engine := b.output
	go func() { // the workload begins
		_ = b.Start(ctx, ref)
		_, _ = io.WriteString(engine, framed("hello\n"))
		_ = b.Kill(ctx, ref, 9)
	}()
	return conn, err
}

func (b *breaking) Logs(context.Context, string, bool, time.Time) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(framed("hello\n"))), nil
}

// framed is text as engines send standard output.
func framed(text string) string {
	return "\x01\x00\x00\x00\x00\x00\x00" + string(rune(len(text))) + text
}

func beginAndEnd(f *fake) {
	f.state = drivers.Running
	time.AfterFunc(50*time.Millisecond, func() { _ = f.Kill(context.Background(), "", 9) })
}

// TestAttachBreaksOff: an attach that ends before the start is done once more, and no output is lost, if
// the workload has begun or ended meanwhile, too. Input would be.
func TestAttachBreaksOff(t *testing.T) {
	for name, c := range map[string]struct {
		breaks int
		while  func(f *fake) // what happens after the first
		in     io.Reader
		says   string
	}{
		"once":                   {1, nil, nil, ""},
		"twice":                  {2, nil, nil, ""},
		"always":                 {attempts, nil, nil, "fake broke off before it was started"},
		"with input":             {1, nil, strings.NewReader("x"), "fake broke off before it was started"},
		"it has begun meanwhile": {1, beginAndEnd, nil, ""},
		"it has ended meanwhile": {1, func(f *fake) { f.state, f.code = drivers.Exited, 137 }, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := &breaking{fake: &fake{}, left: c.breaks}
			d := New(b, "gateway")
			if err := d.Create(t.Context(), testSpec(t)); err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			s := drivers.Streams{Stdin: c.in, Stdout: &out}
			code, err := 0, error(nil)
			if c.while == nil {
				code, err = d.Attach(t.Context(), testID, false, s)
			} else {
				c.while(b.fake)
				code, err = client{d, testID, make(chan startFailure), s}.attach(t.Context(), fromBreak)
			}
			if c.says != "" {
				if err == nil || !strings.Contains(err.Error(), c.says) || out.Len() > 0 {
					t.Errorf("%v, %q", err, out.String())
				}
			} else if err != nil || code != 137 || out.String() != "hello\n" {
				t.Errorf("code %d, %v, output %q", code, err, out.String())
			}
		})
	}
}
