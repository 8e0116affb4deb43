package session

import (
	"context"
	"errors"
	"fmt"
	"os"

	"openshell-vm/cmd/openshell-vm/gateways"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
)

// Attachment is one connection to a workload's streams.
type Attachment struct {
	connected chan struct{} // closed when the sandbox may be started
	done      chan struct{} // closed when the result may be read
	code      int
	err       error
}

// Attach connects in the background. The detach keys end it with ErrDetached.
func (s *Session) Attach(ctx context.Context, client *api.Client, ref string) *Attachment {
	a := &Attachment{connected: make(chan struct{}), done: make(chan struct{})}
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-s.detached:
			cancel(ErrDetached)
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

// Connected waits until the sandbox may be started without losing output. A signal ends
// the wait, and the error is the exit code of a program that the signal ended. So does
// the end of the attachment. That is no error if the command can't be run: the start
// tells it.
func (s *Session) Connected(a *Attachment) error {
	select {
	case <-a.connected:
		return nil
	case sig := <-s.received:
		return say.Exit(codeOfSignal(sig))
	case <-a.done:
		return a.err
	}
}

// Follow waits for the workload's end, over the ends of gateways. The exit code is the
// error, as in Code.
func (s *Session) Follow(ctx context.Context, client *api.Client, a *Attachment, sandbox api.Sandbox) error {
	defer close(s.ended)
	err := gateways.Over(ctx, client, func(client *api.Client) (err error) {
		if a == nil {
			if a, err = s.again(ctx, client, sandbox.ID); err != nil {
				return err
			}
		}
		last := a
		a = nil
		<-last.done
		if last.err != nil {
			return last.err
		}
		return Code(last.code)
	})
	return stillRuns(ctx, err, sandbox)
}

// again attaches to what a gateway left, which may have ended meanwhile. What was
// written between the two gateways is not shown, and that is told.
func (s *Session) again(ctx context.Context, client *api.Client, id string) (*Attachment, error) {
	now, err := client.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	s.tellGap(now.Name)
	switch {
	case now.State == api.StateExited && now.ExitCode != nil:
		ended := &Attachment{done: make(chan struct{}), code: *now.ExitCode}
		close(ended.done)
		return ended, nil
	case now.State == api.StateDead:
		return nil, fmt.Errorf("sandbox %s is dead: %s", now.Name, now.Reason)
	}
	return s.Attach(ctx, client, id), nil
}

// Code is the error of a workload's exit code: nil for 0.
func Code(code int) error {
	if code == 0 {
		return nil
	}
	return say.Exit(code)
}

// stillRuns adds to an error that the sandbox goes on, if it does. An engine that was
// restarted is one.
func stillRuns(ctx context.Context, err error, sandbox api.Sandbox) error {
	var code say.Exit
	if err == nil || errors.As(err, &code) || errors.Is(err, ErrDetached) || sandbox.AutoRemove {
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
	return say.Errorf(fmt.Sprintf("the sandbox goes on: %s attach %s connects again", say.Program, now.Name), "%v", err)
}

// tellGap says where output may be missing, in the output.
func (s *Session) tellGap(name string) {
	end := "\n"
	if s.raw {
		end = "\r\n"
	}
	fmt.Fprintf(s.stderr, gateways.GapLine+end, name)
}

// Farewell closes the session. An end by the detach keys is no error, and is told.
func (s *Session) Farewell(err error, name string) error {
	s.Close()
	if !errors.Is(err, ErrDetached) {
		return err
	}
	fmt.Fprintf(os.Stderr, "\nopenshell-vm: detached; openshell-vm attach %s connects again\n", name)
	return nil
}
