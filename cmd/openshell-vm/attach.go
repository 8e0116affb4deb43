package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"openshell-vm/gateway/api"
)

func attachAction(c *cli.Context) error {
	ref, err := oneArg(c)
	if err != nil {
		return err
	}
	client, err := connect(c.Context, newProgress(os.Stderr))
	if err != nil {
		return err
	}
	sandbox, err := client.Get(c.Context, ref)
	if err != nil {
		return err
	}
	if sandbox.State != api.StateRunning && sandbox.State != api.StateStarting {
		return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("sandbox %s does not run: it is %s", sandbox.Name, sandbox.State),
			Hint: "openshell-vm start " + sandbox.Name + " starts it, openshell-vm logs " + sandbox.Name + " shows its output"}
	}
	s, err := newSession(!c.Bool("no-stdin"), sandbox.Process.Terminal)
	if err != nil {
		return err
	}
	defer s.close()
	attached := s.attach(c.Context, client, sandbox.ID)
	if err := s.live(); err != nil {
		return err
	}
	return s.farewell(s.follow(c.Context, attached, sandbox), sandbox.Name)
}

// attachment is one connection to a workload's streams. Its result may be
// read once done is closed.
type attachment struct {
	connected chan struct{} // closed when Start may be called
	done      chan struct{}
	code      int
	err       error
}

// attach connects in the background. The detach keys end it with errDetached.
func (s *session) attach(ctx context.Context, client *api.Client, ref string) *attachment {
	a := &attachment{connected: make(chan struct{}), done: make(chan struct{})}
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-s.detached:
			cancel(errDetached)
		case <-a.done:
		}
	}()
	go func() {
		defer close(a.done)
		a.code, a.err = client.Attach(ctx, ref, false, s.streams(), func() { close(a.connected) })
		if cause := context.Cause(ctx); cause != nil {
			a.err = cause
		}
		cancel(nil)
	}()
	return a
}

// follow waits for the attachment's end. When the gateway dies the sandbox
// does not: then it attaches again, to the next gateway. What was on its way
// between the two is not shown, and that is told; logs has it.
func (s *session) follow(ctx context.Context, a *attachment, sandbox api.Sandbox) error {
	defer close(s.ended)
	for {
		<-a.done
		if !gatewayGone(a.err) {
			break
		}
		client, err := nextGateway(ctx, a.err)
		if err != nil {
			return err
		}
		s.tellGap(sandbox.Name)
		now, err := client.Get(ctx, sandbox.ID)
		if err != nil {
			return err
		}
		switch {
		case now.State == api.StateExited && now.ExitCode != nil:
			return workloadCode(*now.ExitCode)
		case now.State == api.StateDead:
			return fmt.Errorf("sandbox %s is dead: %s", now.Name, now.Reason)
		}
		a = s.attach(ctx, client, sandbox.ID)
	}
	if a.err != nil {
		return stillRuns(ctx, a.err, sandbox)
	}
	return workloadCode(a.code)
}

// stillRuns adds to the end of an attachment, as by an engine that was restarted, that
// the sandbox goes on, if it does.
func stillRuns(ctx context.Context, err error, sandbox api.Sandbox) error {
	if errors.Is(err, errDetached) || sandbox.AutoRemove {
		return err
	}
	client, gone := api.Connect(ctx)
	if gone != nil {
		return err
	}
	now, gone := client.Get(ctx, sandbox.ID)
	if gone != nil || now.State != api.StateRunning {
		return err
	}
	return usage(fmt.Sprintf("the sandbox goes on: %s attach %s connects again", appName, now.Name), "%v", err)
}

// gatewayGone says of a request to a gateway that has answered before that it was the
// gateway that ended, not what was asked of it.
func gatewayGone(err error) bool {
	return errors.Is(err, api.ErrStreamLost) || errors.Is(err, api.ErrNotRunning) || isEnding(err)
}

// overGateways asks the next gateway when one ends before it has answered: the sandbox
// does not end with it. One that was ended may be met once more in its last moment; its
// word that it ends stays.
func overGateways(ctx context.Context, client *api.Client, ask func(*api.Client) error) error {
	var gone error
	for {
		err := ask(client)
		if !gatewayGone(err) {
			return err
		}
		if !isEnding(gone) || !errors.Is(err, api.ErrNotRunning) {
			gone = err
		}
		if client, err = nextGateway(ctx, gone); err != nil {
			return err
		}
	}
}

func isEnding(err error) bool {
	var answer *api.Error
	return errors.As(err, &answer) && answer.Code == api.CodeEnding
}

// nextPause keeps who asks again and again from doing nothing else.
const nextPause = 50 * time.Millisecond

// nextPatience is how long the gateway after one that was ended is waited for.
const nextPatience = 10 * time.Second

// nextGateway connects to the one after a gateway that is gone. One that died is
// started again; after one that was ended, as by gateway restart, another is waited
// for and not started: who stopped it wants none.
func nextGateway(ctx context.Context, gone error) (*api.Client, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(nextPause):
	}
	if !isEnding(gone) {
		return api.EnsureStarted(ctx, "")
	}
	ctx, cancel := context.WithTimeout(ctx, nextPatience)
	defer cancel()
	for {
		if client, err := api.Connect(ctx); err == nil {
			return client, nil
		}
		select {
		case <-ctx.Done():
			return nil, gone
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// tellGap says in its place that output may be missing.
func (s *session) tellGap(name string) {
	end := "\n"
	if s.raw {
		end = "\r\n"
	}
	fmt.Fprintf(s.stderr, gapLine+end, name)
}

const gapLine = "openshell-vm: the gateway was restarted: output may be missing here; openshell-vm logs %s has it"

// farewell turns an end by the detach keys into a success that is said.
func (s *session) farewell(err error, name string) error {
	s.close()
	if !errors.Is(err, errDetached) {
		return err
	}
	fmt.Fprintf(os.Stderr, "\nopenshell-vm: detached; openshell-vm attach %s connects again\n", name)
	return nil
}
