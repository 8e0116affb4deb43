package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/atomicfile"
	"openshell-vm/internal/contract"
	"openshell-vm/share"
)

// envCrashChild makes the test program a gateway, with an engine in a file:
// a sandbox outlives it, as with a real one.
const envCrashChild = "GATEWAY_TEST_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(envCrashChild); path != "" {
		if err := crashChild(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func crashChild(path string) error {
	home, err := state.Open()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	g, err := New(home, Options{Drivers: []drivers.Driver{&filed{newFake("fake"), path}}, Version: "test", Supervisor: "none", Log: log, LookEvery: 20 * time.Millisecond})
	if err != nil {
		return err
	}
	return g.Run(context.Background())
}

// filed is a fake engine that keeps its sandboxes in a file. Each call reads and writes the
// file.
type filed struct {
	*fake
	path string
}

type filedBox struct {
	Status     drivers.Status
	Auth       string
	Generation uint64 // that it was started with last
}

func (f *filed) with(change func(boxes map[string]*filedBox) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	boxes := map[string]*filedBox{}
	data, err := os.ReadFile(f.path)
	if err == nil {
		err = json.Unmarshal(data, &boxes)
	}
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := change(boxes); err != nil {
		return err
	}
	if data, err = json.Marshal(boxes); err != nil {
		return err
	}
	return atomicfile.Write(f.path, f.path+".new", data, atomicfile.Durable)
}

func (f *filed) Create(_ context.Context, spec drivers.Spec) error {
	return f.with(func(boxes map[string]*filedBox) error {
		if boxes[spec.ID] != nil {
			return drivers.ErrExists
		}
		boxes[spec.ID] = &filedBox{Status: drivers.Status{ID: spec.ID, Name: spec.Name, State: drivers.Created}, Auth: spec.Auth.Source()}
		return nil
	})
}

// Start fails, and with it the test, if no token was published since the last start.
func (f *filed) Start(_ context.Context, id string) error {
	return f.with(func(boxes map[string]*filedBox) error {
		b := boxes[id]
		if b == nil {
			return drivers.ErrNotFound
		}
		content, err := share.Read(b.Auth)
		var m contract.Metadata
		if err == nil {
			err = json.Unmarshal(content.Files[contract.MetadataName], &m)
		}
		if err != nil || m.Generation <= b.Generation || time.Now().After(m.RenewAt) {
			return fmt.Errorf("no fresh token at the start: %+v after generation %d, %v", m, b.Generation, err)
		}
		b.Generation = m.Generation
		b.Status.State, b.Status.StartedAt = drivers.Running, time.Now()
		return nil
	})
}

func (f *filed) Stop(_ context.Context, id string, _ time.Duration) error {
	return f.with(func(boxes map[string]*filedBox) error {
		if b := boxes[id]; b != nil && b.Status.State == drivers.Running {
			b.Status.State, b.Status.ExitCode, b.Status.ExitedAt = drivers.Exited, 143, time.Now()
		}
		return nil
	})
}

func (f *filed) Remove(_ context.Context, id string) error {
	return f.with(func(boxes map[string]*filedBox) error {
		delete(boxes, id)
		return nil
	})
}

func (f *filed) Inspect(_ context.Context, id string) (status drivers.Status, err error) {
	err = f.with(func(boxes map[string]*filedBox) error {
		b := boxes[id]
		if b == nil {
			return drivers.ErrNotFound
		}
		status = b.Status
		return nil
	})
	return status, err
}

func (f *filed) List(context.Context) (list []drivers.Status, err error) {
	err = f.with(func(boxes map[string]*filedBox) error {
		for _, b := range boxes {
			list = append(list, b.Status)
		}
		return nil
	})
	return list, err
}

// child is a gateway process.
type child struct {
	w   *world
	cmd *exec.Cmd
	env []string
}

// run starts a gateway process and connects to it.
func (c *child) run() {
	c.w.Helper()
	self, err := os.Executable()
	c.w.must(err)
	c.cmd = exec.Command(self)
	c.cmd.Env = append(append(os.Environ(), envCrashChild+"="+filepath.Join(c.w.dir, "engine.json")), c.env...)
	c.cmd.Stderr = c.w.log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.w.must(c.cmd.Start())
	c.w.eventually("the gateway listens", func() bool {
		client, err := api.Connect(context.Background())
		c.w.client = client
		return err == nil
	})
}

func (c *child) kill() {
	_ = c.cmd.Process.Kill() // it may have killed itself
	_ = c.cmd.Wait()
	c.w.client.Close()
}

// TestKilledAnywhere kills the gateway many times, in the middle of users' operations. Each
// time the next gateway must work, and every sandbox must have a good token.
func TestKilledAnywhere(t *testing.T) {
	w := newWorld(t)
	c := &child{w: w}
	rounds := 30
	if testing.Short() {
		rounds = 5
	}
	generations := map[string]uint64{}
	for round := range rounds {
		c.run()
		checkAll(w, generations)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		for worker := range 3 {
			go func() {
				defer func() { done <- struct{}{} }()
				for ctx.Err() == nil {
					work(ctx, w.client, fmt.Sprint("w", worker, "-", rand.N(3)))
				}
			}()
		}
		time.Sleep(10*time.Millisecond + rand.N(60*time.Millisecond)) // the moment of the kill
		c.kill()
		cancel()
		for range 3 {
			<-done
		}
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	c.run()
	checkAll(w, generations)
	all, err := w.client.List(t.Context())
	w.must(err)
	for _, s := range all {
		w.must(w.client.Remove(t.Context(), s.ID, true))
	}
	for _, kind := range []string{"sandboxes", "shares"} {
		if left, err := os.ReadDir(filepath.Join(w.dir, "state", kind)); err != nil || len(left) > 0 {
			t.Errorf("in %s is left: %v, %v", kind, left, err)
		}
	}
	c.kill()
}

// work asks for one operation and ignores the answer.
func work(ctx context.Context, client *api.Client, name string) {
	switch rand.N(6) {
	case 0, 1:
		_, _ = client.Create(ctx, api.CreateRequest{Driver: "fake", Name: name})
	case 2:
		_, _ = client.Start(ctx, name)
	case 3:
		_, _ = client.Tokens.Rotate(ctx, name)
	case 4:
		_, _ = client.Stop(ctx, name, 0)
	case 5:
		_ = client.Remove(ctx, name, true)
	}
}

// checkAll expects that every sandbox's token verifies, that no generation has gone back,
// and that no operation failed for good.
func checkAll(w *world, generations map[string]uint64) {
	w.Helper()
	w.eventually("every sandbox is where it should be", func() bool {
		all, err := w.client.List(w.Context())
		w.must(err)
		for _, s := range all {
			if s.Desired == state.WantGone || (s.Desired == state.WantRunning) != (s.State == "running") {
				return false
			}
		}
		return true
	})
	all, err := w.client.List(w.Context())
	w.must(err)
	for _, s := range all {
		raw, err := os.ReadFile(filepath.Join(s.Share, contract.TokenName))
		w.must(err)
		r, err := w.client.Tokens.Verify(w.Context(), api.VerifyRequest{Token: string(raw)})
		w.must(err)
		if !r.Valid || r.SandboxID != s.ID || r.Generation < generations[s.ID] || s.Reason != "" || s.Token.Failures > 0 {
			w.Errorf("%s: %+v; generation %d before; %+v", s.Name, r, generations[s.ID], s)
		}
		generations[s.ID] = r.Generation
	}
}

// TestConnectAfterDeath: a client whose gateway dies is told so.
func TestConnectAfterDeath(t *testing.T) {
	w := newWorld(t)
	c := &child{w: w}
	c.run()
	client := w.client
	c.kill()
	if _, err := client.Status(t.Context()); !errors.Is(err, api.ErrNotRunning) {
		t.Errorf("%v", err)
	}
}
