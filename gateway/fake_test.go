package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/internal/contract"
	"openshell-vm/share"
)

// fake is an engine in memory. On demand it hangs, fails or forgets a sandbox, which real
// engines can't be made to do. It outlives gateways, as engines do.
type fake struct {
	name      string
	staleness time.Duration

	mu      sync.Mutex
	boxes   map[string]*box
	fail    map[string]error // by method
	block   chan struct{}    // Start waits for it, if it is not nil
	deaf    bool             // and does not heed its context
	calls   []string
	onStart func(spec drivers.Spec)

	onCreate func(context.Context) // if it is not nil

	blockCreate      chan struct{} // Create waits for it, if it is not nil
	creating, atMost int           // Creates that wait, and the most that did at once

	hangList chan struct{} // List waits for it, if it is not nil
	hidden   string        // List lacks it
}

type box struct {
	spec   drivers.Spec
	status drivers.Status
	ended  chan struct{} // closed when it stops running
	stdin  chan []byte
}

func newFake(name string) *fake {
	return &fake{name: name, staleness: time.Second, boxes: map[string]*box{}, fail: map[string]error{}}
}

func (f *fake) Name() string { return f.name }

// call records a call and returns the error that is set for its method.
func (f *fake) call(method, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, method+" "+id)
	return f.fail[method]
}

// failing makes a method fail until it is given nil.
func (f *fake) failing(method string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail[method] = err
}

func (f *fake) count(call string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, c := range f.calls {
		if c == call {
			n++
		}
	}
	return n
}

func (f *fake) Probe(context.Context) drivers.Info {
	if err := f.call("probe", ""); err != nil {
		return drivers.Info{Problem: err.Error(), Hint: "mend it"}
	}
	return drivers.Info{Usable: true, Version: f.name + " 1.0"}
}

func (f *fake) Resolve(_ context.Context, spec drivers.Spec) (drivers.Spec, time.Duration, error) {
	if err := f.call("resolve", spec.ID); err != nil {
		return spec, 0, err
	}
	if spec.CPUs == 0 {
		spec.CPUs = 2
	}
	return spec, f.staleness, nil
}

func (f *fake) Create(ctx context.Context, spec drivers.Spec) error {
	if err := f.call("create", spec.ID); err != nil {
		return err
	}
	if f.onCreate != nil {
		f.onCreate(ctx)
	}
	if err := f.awaitCreate(ctx); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.boxes[spec.ID] != nil {
		return drivers.ErrExists
	}
	f.boxes[spec.ID] = &box{spec: spec, status: drivers.Status{ID: spec.ID, Name: spec.Name, State: drivers.Created}, stdin: make(chan []byte, 16)}
	return nil
}

// spec is what a sandbox was made with.
func (f *fake) spec(id string) drivers.Spec {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.boxes[id].spec
}

func (f *fake) awaitCreate(ctx context.Context) error {
	f.mu.Lock()
	block := f.blockCreate
	f.creating++
	f.atMost = max(f.atMost, f.creating)
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.creating--
		f.mu.Unlock()
	}()
	if block == nil {
		return nil
	}
	select {
	case <-block:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *fake) Start(ctx context.Context, id string) error {
	if err := f.call("start", id); err != nil {
		return err
	}
	f.mu.Lock()
	block, deaf := f.block, f.deaf
	f.mu.Unlock()
	if deaf && block != nil {
		<-block
	} else if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.boxes[id]
	if b == nil {
		return drivers.ErrNotFound
	}
	if b.status.State != drivers.Running {
		b.status.State, b.status.StartedAt, b.status.ExitedAt = drivers.Running, time.Now(), time.Time{}
		b.ended = make(chan struct{})
	}
	if f.onStart != nil {
		f.onStart(b.spec)
	}
	return nil
}

func (f *fake) Stop(_ context.Context, id string, _ time.Duration) error {
	if err := f.call("stop", id); err != nil {
		return err
	}
	f.end(id, 143)
	return nil
}

// end lets a workload end with an exit code.
func (f *fake) end(id string, code int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.boxes[id]
	if b == nil || b.status.State != drivers.Running {
		return
	}
	b.status.State, b.status.ExitCode, b.status.ExitedAt = drivers.Exited, code, time.Now()
	if code < 0 {
		b.status.State, b.status.ExitCode = drivers.Dead, 0
	}
	close(b.ended)
}

func (f *fake) Remove(_ context.Context, id string) error {
	if err := f.call("remove", id); err != nil {
		return err
	}
	f.end(id, 137)
	f.forget(id)
	return nil
}

// reason sets the Reason that the engine reports of a sandbox from now on.
func (f *fake) reason(id, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.boxes[id].status.Reason = reason
}

// forget removes a sandbox behind the gateway's back.
func (f *fake) forget(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.boxes, id)
}

func (f *fake) Inspect(_ context.Context, id string) (drivers.Status, error) {
	if err := f.call("inspect", id); err != nil {
		return drivers.Status{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if b := f.boxes[id]; b != nil {
		return b.status, nil
	}
	return drivers.Status{}, drivers.ErrNotFound
}

func (f *fake) List(ctx context.Context) ([]drivers.Status, error) {
	if f.hangList != nil {
		select {
		case <-f.hangList:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err := f.call("list", ""); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []drivers.Status
	for _, b := range f.boxes {
		if b.status.ID != f.hidden {
			list = append(list, b.status)
		}
	}
	slices.SortFunc(list, func(a, b drivers.Status) int { return len(a.ID) - len(b.ID) })
	return list, nil
}

// hide keeps a sandbox out of the list.
func (f *fake) hide(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hidden = id
}

func (f *fake) get(id string) *box {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.boxes[id]
}

// Attach echoes input to output, upper case to stderr, until the workload ends.
func (f *fake) Attach(ctx context.Context, id string, replay bool, s drivers.Streams) (int, error) {
	b := f.get(id)
	if b == nil {
		return 0, drivers.ErrNotFound
	}
	if err := f.call(fmt.Sprintf("attach-replay-%v", replay), id); err != nil {
		return 0, err
	}
	go func() {
		buf := make([]byte, 4096)
		for s.Stdin != nil {
			n, err := s.Stdin.Read(buf)
			fmt.Fprintf(s.Stdout, "in:%s", buf[:n])
			if err != nil {
				fmt.Fprintf(s.Stderr, "end:%v", err)
				return
			}
		}
	}()
	for {
		f.mu.Lock()
		ended := b.ended
		f.mu.Unlock()
		if ended == nil { // not started yet
			time.Sleep(time.Millisecond)
			continue
		}
		select {
		case <-ended:
			return b.status.ExitCode, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		case size := <-s.Resize:
			fmt.Fprintf(s.Stdout, "size:%dx%d", size.Rows, size.Cols)
		}
	}
}

// Exec knows the commands "cat", "wait" (until a signal or the end of ctx) and "broken". Any
// other command ends with the number of its words as exit code.
func (f *fake) Exec(ctx context.Context, _ string, p drivers.Process, s drivers.Streams) (int, error) {
	switch p.Args[0] {
	case "cat":
		_, err := io.Copy(s.Stdout, s.Stdin)
		return 0, err
	case "wait":
		select {
		case sig := <-s.Signals:
			return 128 + sig, nil
		case <-ctx.Done():
			_ = f.call("killed", "")
			return 0, ctx.Err()
		}
	case "broken":
		return 0, &drivers.Error{Op: "run the command", Err: errors.New("the control channel is gone"), Hint: "start it again"}
	}
	return len(p.Args), nil
}

// Update is drivers.Updater's.
func (f *fake) Update(_ context.Context, spec drivers.Spec) (now bool, err error) {
	return false, f.call("update", fmt.Sprintf("%s %g %d", spec.ID, spec.CPUs, spec.Memory))
}

func (f *fake) Signal(_ context.Context, id string, sig int) error {
	if err := f.call(fmt.Sprintf("signal-%d", sig), id); err != nil {
		return err
	}
	f.end(id, 128+sig)
	return nil
}

func (f *fake) Logs(_ context.Context, _ string, _ bool, stdout, stderr io.Writer) error {
	fmt.Fprint(stdout, "to stdout")
	fmt.Fprint(stderr, "to stderr")
	return f.call("logs", "")
}

// tokenOf reads what a share holds, verified without leeway.
func tokenOf(t testing.TB, g *Gateway, authDir string) (generation uint64, expires time.Time) {
	t.Helper()
	content, err := share.Read(authDir)
	if err != nil {
		t.Fatalf("read the share: %v", err)
	}
	claims, err := g.keeper.Verifier(0).Verify(string(content.Files[contract.TokenName]), time.Now())
	if err != nil {
		t.Fatalf("the share's token: %v", err)
	}
	return claims.Generation, claims.ExpiresAt
}
