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
