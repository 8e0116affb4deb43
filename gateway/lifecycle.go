package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
)

const (
	defaultGrace  = 10 * time.Second // between asking a workload to end and killing it
	startDeadline = 3 * time.Minute  // of a driver's Start
	endDeadline   = time.Minute      // of a driver's Stop after the grace, and of Remove
	waitEvery     = 200 * time.Millisecond
)

// want changes the desired state.
func (r *Record) want(desired string) { r.Desired, r.DesiredAt = desired, time.Now() }

// start brings a sandbox up for a user. One that runs is left as it is.
func (g *Gateway) start(ctx context.Context, s *sandbox) error {
	s.op.Lock()
	defer s.op.Unlock()
	if err := s.present(); err != nil {
		return err
	}
	// A caller that goes away leaves no half-started sandbox.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startDeadline)
	defer cancel()
	if status, err := g.drivers[s.rec().Driver].Inspect(ctx, s.id); err == nil && status.State == drivers.Running {
		s.observe(status, time.Now())
		if s.rec().Desired == wantRunning {
			return nil
		}
		return g.update(s, func(r *Record) { r.want(wantRunning) })
	}
	err := g.bringUp(ctx, s)
	if err == nil {
		return nil
	}
	// The user was told: nothing is tried again behind their back.
	if undo := g.update(s, func(r *Record) { r.want(wantStopped) }); undo != nil {
		g.log.Warn("a failed start stays desired", "sandbox", s.id, "error", oneLine(undo))
	}
	g.refresh(ctx, s)
	return err
}

// bringUp starts or resumes a sandbox. The caller holds s.op. Killed in
// between, the next gateway finds the wish and does it all again.
func (g *Gateway) bringUp(ctx context.Context, s *sandbox) error {
	defer s.begin("starting")()
	ctx, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	if s.rec().Lost != "" {
		if err := g.remake(ctx, s); err != nil {
			return err
		}
	}
	// A share on tmpfs is lost with the host's last boot. One that is there is
	// left as it is.
	if err := g.makeShare(s.rec()); err != nil {
		return err
	}
	mounted, err := inodeOf(s.share.AuthDir())
	if err != nil {
		return err
	}
	err = g.update(s, func(r *Record) {
		r.want(wantRunning)
		r.Start = StartRecord{BootID: g.bootID, Share: mounted}
	})
	if err != nil {
		return err
	}
	fault("record-start")
	if err := g.deliver(ctx, s, true); err != nil {
		return err
	}
	s.set(func() { s.up = true })
	g.refresh(ctx, s)
	return nil
}

// remake makes a lost sandbox anew in its engine, from its record.
func (g *Gateway) remake(ctx context.Context, s *sandbox) error {
	r := *s.rec()
	if err := g.makeShare(&r); err != nil {
		return err
	}
	driver := g.drivers[r.Driver]
	r.Warnings = nil
	if keeper, ok := driver.(drivers.Keeper); ok {
		keeper.Keep(r.ID, "") // what it was is gone
	}
	spec, err := g.resolve(ctx, driver, &r)
	if err != nil {
		return err
	}
	if err := driver.Create(ctx, spec); err != nil && !errors.Is(err, drivers.ErrExists) {
		return err
	}
	object := objectOf(ctx, driver, r.ID)
	return g.update(s, func(r *Record) { r.Lost, r.Object = "", object })
}

// refresh takes over the engine's view after an operation. The caller holds s.op.
func (g *Gateway) refresh(ctx context.Context, s *sandbox) {
	asked := time.Now()
	if status, err := g.drivers[s.rec().Driver].Inspect(ctx, s.id); err == nil {
		s.observe(status, asked)
	}
}

// stopSandbox ends the workload and leaves the sandbox.
func (g *Gateway) stopSandbox(ctx context.Context, s *sandbox, grace time.Duration) error {
	ctx = context.WithoutCancel(ctx)
	s.op.Lock()
	defer s.op.Unlock()
	if err := s.present(); err != nil {
		return err
	}
	if err := g.update(s, func(r *Record) { r.want(wantStopped) }); err != nil {
		return err
	}
	return g.halt(ctx, s, grace)
}

// halt stops it in the engine. The caller holds s.op.
func (g *Gateway) halt(ctx context.Context, s *sandbox, grace time.Duration) error {
	defer s.begin("stopping")()
	ctx, cancel := context.WithTimeout(ctx, grace+endDeadline)
	defer cancel()
	if err := g.drivers[s.rec().Driver].Stop(ctx, s.id, grace); err != nil {
		return err
	}
	s.set(func() { s.up = false })
	g.refresh(ctx, s)
	return nil
}

// remove deletes a sandbox, a running one only by force.
func (g *Gateway) remove(ctx context.Context, s *sandbox, force bool) error {
	ctx = context.WithoutCancel(ctx)
	s.op.Lock()
	defer s.op.Unlock()
	if err := s.present(); err != nil {
		return err
	}
	if !force {
		bounded, cancel := context.WithTimeout(ctx, lookDeadline)
		g.refresh(bounded, s)
		cancel()
		if s.view().State == string(drivers.Running) {
			return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("sandbox %s is running", s.rec().Name),
				Hint: "stop it first, or remove it all the same with --force"}
		}
	}
	return g.erase(ctx, s)
}

// erase removes a sandbox from the engine, its share, and at last its record.
// The caller holds s.op. Killed or failed in between, it is repeated by the
// reconciler.
func (g *Gateway) erase(ctx context.Context, s *sandbox) error {
	ctx, cancel := context.WithTimeout(ctx, endDeadline)
	defer cancel()
	if err := g.update(s, func(r *Record) { r.want(wantGone) }); err != nil {
		// On a full disk a removal is what helps: it goes on without the note.
		g.log.Warn("a removal begins without a note on disk", "sandbox", s.id, "error", oneLine(err))
	}
	g.schedule.remove(s.id)
	if driver := g.drivers[s.rec().Driver]; driver != nil {
		if err := driver.Remove(ctx, s.id); err != nil && !errors.Is(err, drivers.ErrNotFound) {
			return err
		}
	}
	if err := s.share.Remove(ctx); err != nil {
		return err
	}
	if err := g.home.forget(s.id); err != nil {
		return err
	}
	g.drop(s)
	return nil
}

// wait returns once the sandbox no longer runs.
func (g *Gateway) wait(ctx context.Context, s *sandbox) (api.WaitResult, error) {
	defer g.client(s)()
	driver := g.drivers[s.rec().Driver]
	for {
		status, err := driver.Inspect(ctx, s.id)
		if waiter, ok := driver.(drivers.Waiter); ok && err == nil && status.State == drivers.Running {
			status, err = waiter.Wait(ctx, s.id)
		}
		if errors.Is(err, drivers.ErrNotFound) {
			s.set(func() { status, err = s.status, nil }) // it was removed: its last state tells
		}
		if err != nil {
			return api.WaitResult{}, err
		}
		if status.State != drivers.Running && s.view().State != "starting" {
			return waitResult(status), nil
		}
		select {
		case <-ctx.Done():
			return api.WaitResult{}, ctx.Err()
		case <-time.After(waitEvery):
		}
	}
}

func waitResult(status drivers.Status) api.WaitResult {
	r := api.WaitResult{ExitCode: status.ExitCode, Reason: status.Reason}
	if status.State == drivers.Dead {
		r.ExitCode = 125
		if r.Reason == "" {
			r.Reason = "it ended without an exit code"
		}
	}
	return r
}

// client counts a connected stream: with --rm, a sandbox stays until its
// streams have ended. The end looks at the sandbox, which may have ended too.
func (g *Gateway) client(s *sandbox) (end func()) {
	s.set(func() { s.clients++ })
	return func() {
		s.set(func() { s.clients-- })
		g.background(func() { g.lookAt(context.Background(), s) })
	}
}

// rotate publishes a new token now.
func (g *Gateway) rotate(ctx context.Context, s *sandbox) error {
	if err := s.present(); err != nil {
		return err
	}
	return s.blame(g.deliver(ctx, s, false))
}

// present refuses what was removed while somebody waited for it.
func (s *sandbox) present() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone || s.record.Desired == wantGone {
		return &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("sandbox %s was removed", s.record.Name),
			Hint: "openshell-vm ps -a lists all"}
	}
	return nil
}
