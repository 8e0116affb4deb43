package gateway

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/share"
)

// seeing is an engine that tells what its sandboxes see: what their shares hold, unless it is told
// otherwise.
type seeing struct {
	*fake

	mu    sync.Mutex
	blind bool // they go on seeing what they saw
	hangs bool // it answers nobody
	err   error
	seen  map[string]uint64
	looks int
}

func (f *seeing) Seen(ctx context.Context, id, shared string) (uint64, time.Time, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hangs {
		f.mu.Unlock()
		<-ctx.Done()
		f.mu.Lock()
		return 0, time.Time{}, ctx.Err()
	}
	f.looks++
	b := f.fake.get(id)
	switch {
	case f.err != nil:
		return 0, time.Time{}, f.err
	case b == nil || b.status.State != drivers.Running:
		return 0, time.Time{}, drivers.ErrNotRunning
	case !f.blind:
		shown, ok := b.spec.ShareNamed(shared)
		if !ok {
			return 0, time.Time{}, drivers.ErrNotTold
		}
		now, err := share.Read(shown.Source())
		if err != nil {
			return 0, time.Time{}, err
		}
		f.seen[id+shared] = now.Generation
	}
	return f.seen[id+shared], time.Now(), nil
}

func (f *seeing) set(blind bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.blind, f.err = blind, err
}

func (f *seeing) hang(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hangs = on
}

func (f *seeing) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.looks
}

func (w *world) putNow(ref string) uint64 {
	w.Helper()
	s, err := w.client.Shares.Put(w.Context(), ref, api.FilesRequest{Files: map[string][]byte{"f": []byte(time.Now().String())}})
	w.must(err)
	return s.Token.Generation
}

// TestSeen: what a sandbox sees is known soon after each publish; what it does not see in time is
// told everywhere, once; and Wait returns neither too early nor too late.
func TestSeen(t *testing.T) {
	engine := &seeing{fake: newFake("fake"), seen: map[string]uint64{}}
	engine.staleness = 10 * time.Millisecond
	w := newWorld(t, engine)
	w.run()
	box := w.create(api.CreateRequest{Name: "box", TTL: time.Hour})
	_, err := w.client.Shares.Wait(t.Context(), "box", api.SeenRequest{})
	refused(t, err, api.CodeNotSeen, "sandbox box does not run")
	w.start("box")

	n := w.putNow("box")
	r, err := w.client.Shares.Wait(t.Context(), "box", api.SeenRequest{Generation: n})
	if err != nil || !r.Seen || r.Generation != n || len(r.Viewers) != 1 || r.Viewers[0].Generation != n || r.Viewers[0].Name != "box" {
		t.Errorf("%+v, %v", r, err)
	}
	w.eventually("inspect tells what it saw, and how soon", func() bool {
		token := w.get("box").Token
		return token.SeenGeneration == n && token.SeenAfter > 0 && !token.SeenAt.IsZero() && token.UnseenSince.IsZero()
	})
	looks := engine.count()
	time.Sleep(300 * time.Millisecond) // what is seen is looked at no more
	if engine.count() != looks {
		t.Errorf("%d looks without a publish and without a waiter", engine.count()-looks)
	}

	_, err = w.client.Shares.Wait(t.Context(), "box", api.SeenRequest{Generation: n + 1, Timeout: 50 * time.Millisecond})
	refused(t, err, api.CodeNotSeen, fmt.Sprintf("generation %d of box is not published: after 50ms the newest is %d", n+1, n))
	_, err = w.client.Shares.Wait(t.Context(), "box", api.SeenRequest{Timeout: 2 * time.Hour})
	refused(t, err, api.CodeInvalid, "2h0m0s is no time to wait")

	engine.set(true, nil)
	late := w.putNow("box")
	_, err = w.client.Shares.Wait(t.Context(), "box", api.SeenRequest{Timeout: 50 * time.Millisecond})
	refused(t, err, api.CodeNotSeen, fmt.Sprintf("box does not see generation %d after 50ms: it sees %d", late, n))
	looks = engine.count()
	go func() { // a look that is cut off takes nothing away from what earlier ones found
		w.eventually("it is looked at twice", func() bool { return engine.count() > looks+1 })
		engine.hang(true)
	}()
	_, err = w.client.Shares.Wait(t.Context(), "box", api.SeenRequest{Timeout: time.Second})
	refused(t, err, api.CodeNotSeen, fmt.Sprintf("box does not see generation %d after 1s: it sees %d", late, n))
	engine.hang(false)
	w.eventually("ps tells that it is not seen", func() bool { return !w.get("box").Token.UnseenSince.IsZero() })
	if token := w.get("box").Token; token.SeenGeneration != n || token.Generation != late {
		t.Errorf("%+v", token)
	}
	if w.counted("openshell_unseen_total") != 1 || w.counted("openshell_sandboxes_unseen") != 1 {
		t.Error("the metrics do not tell it")
	}
	engine.set(false, nil)
	r, err = w.client.Shares.Wait(t.Context(), box.ID, api.SeenRequest{})
	if err != nil || r.Generation != late {
		t.Errorf("%+v, %v", r, err)
	}
	if token := w.get("box").Token; !token.UnseenSince.IsZero() || token.SeenGeneration != late || w.counted("openshell_sandboxes_unseen") != 0 {
		t.Errorf("after it was seen: %+v", token)
	}
	w.hasEvents(api.EventUnseen, api.EventSeen)

	engine.set(false, fmt.Errorf("%w: it is dark", drivers.ErrNotTold))
	n = w.putNow("box")
	_, err = w.client.Shares.Wait(t.Context(), "box", api.SeenRequest{Timeout: 50 * time.Millisecond})
	refused(t, err, api.CodeNotSeen, fmt.Sprintf("box is not known to see generation %d after 50ms: it is dark", n))
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := w.client.Shares.Wait(ctx, "box", api.SeenRequest{Timeout: time.Hour}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	w.eventually("the gateway waits for nobody", func() bool { return w.gateway.seen.Waiting() == 0 })
}

// hasEvents expects events of these actions, in this order, one each.
func (w *world) hasEvents(actions ...string) {
	w.Helper()
	var got []string
	w.must(w.client.Events(w.Context(), time.Time{}, false, func(e api.Event) error {
		for _, action := range actions {
			if e.Action == action {
				got = append(got, action)
			}
		}
		return nil
	}))
	if strings.Join(got, " ") != strings.Join(actions, " ") {
		w.Errorf("events %q, wanted %q", got, actions)
	}
}

// counted is a metric without labels.
func (w *world) counted(name string) float64 {
	w.Helper()
	families, err := w.gateway.metrics.Registry.Gather()
	w.must(err)
	for _, f := range families {
		if m := f.GetMetric(); f.GetName() == name && len(m) == 1 {
			return m[0].GetCounter().GetValue() + m[0].GetGauge().GetValue()
		}
	}
	w.Fatalf("there is no metric %s", name)
	return 0
}

// TestSeenInAShare: who has a share of the user's own mounted is looked into, wherever it is mounted.
func TestSeenInAShare(t *testing.T) {
	w := newWorld(t)
	w.run()
	s := w.share(api.ShareRequest{Name: "agent"})
	_, err := w.client.Shares.Wait(t.Context(), "agent", api.SeenRequest{})
	refused(t, err, api.CodeNotSeen, "nothing that runs has the share agent mounted")

	target := t.TempDir()
	cmd := exec.Command("/bin/sh", "-ec", `mount --make-rprivate /; mount --bind "$0" "$1"; echo; exec cat >/dev/null`, s.Dir, target)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	in, err := cmd.StdinPipe()
	w.must(err)
	out, err := cmd.StdoutPipe()
	w.must(err)
	if err := cmd.Start(); err != nil {
		t.Skip("no mount namespace can be made here: ", err)
	}
	defer func() { in.Close(); _ = cmd.Wait() }()
	if n, _ := out.Read(make([]byte, 1)); n != 1 {
		t.Skip("nothing can be mounted here")
	}
	n := w.putNow("agent")
	r, err := w.client.Shares.Wait(t.Context(), "agent", api.SeenRequest{})
	if err != nil || !r.Seen || len(r.Viewers) != 1 || r.Viewers[0].Generation != n || !strings.Contains(r.Viewers[0].Name, fmt.Sprintf("process %d", cmd.Process.Pid)) {
		t.Errorf("%+v, %v", r, err)
	}
	in.Close()
	w.eventually("it has ended", func() bool {
		_, err := w.client.Shares.Wait(t.Context(), "agent", api.SeenRequest{})
		return err != nil && strings.Contains(err.Error(), "nothing that runs")
	})
}
