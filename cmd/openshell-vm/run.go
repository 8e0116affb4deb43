package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"openshell-vm/gateway/api"
)

// connect gives a client of the gateway, which it starts if none listens. What
// that gateway does not have of this version and environment is told once.
func connect(ctx context.Context, p *progress) (*api.Client, error) {
	p.step("starting the gateway")
	client, err := api.EnsureStarted(ctx, "")
	p.done()
	if err == nil {
		tellStale(client.Met())
	}
	return client, err
}

func createAction(c *cli.Context) error {
	request, err := createRequest(c)
	if err != nil {
		return err
	}
	s, err := newSession(false, false)
	if err != nil {
		return err
	}
	defer s.close()
	_, sandbox, err := s.create(c.Context, request, c.Bool("quiet"))
	if err != nil {
		return err
	}
	fmt.Fprintln(c.App.Writer, sandbox.ID)
	return nil
}

func runAction(c *cli.Context) error {
	request, err := createRequest(c)
	if err != nil {
		return err
	}
	detach := c.Bool("detach")
	s, err := newSession(request.Stdin && !detach, request.Process.Terminal)
	if err != nil {
		return err
	}
	defer s.close()
	request.Process.Size = s.size()
	client, sandbox, err := s.create(c.Context, request, c.Bool("quiet"))
	if err != nil {
		return err
	}
	if !detach {
		return s.foreground(c.Context, client, sandbox, request.AutoRemove)
	}
	warn(slices.Concat(client.Met().Advice, client.Met().Short))
	started, err := s.start(c.Context, client, sandbox)
	if err != nil {
		return err
	}
	if err := couldNotRun(started); err != nil {
		return withCleanup(err, s.takeBack(client, sandbox))
	}
	fmt.Fprintln(c.App.Writer, sandbox.ID)
	return nil
}

// create makes the sandbox and prints the gateway's warnings, if it is not to be quiet.
func (s *session) create(ctx context.Context, r api.CreateRequest, quiet bool) (client *api.Client, sandbox api.Sandbox, err error) {
	err = s.interruptible(ctx, func(ctx context.Context) error {
		if client, err = connect(ctx, s.progress); err != nil {
			return err
		}
		if err = s.pull(ctx, client, r, quiet); err != nil {
			return err
		}
		s.progress.step("creating the sandbox")
		defer s.progress.done()
		late, cancel := withGrace(ctx, createGrace)
		defer cancel()
		sandbox, err = client.Create(late, r)
		return err
	})
	if err != nil && sandbox.ID != "" { // interrupted, and made all the same
		return client, sandbox, withCleanup(err, s.takeBack(client, sandbox))
	}
	if !quiet {
		warn(sandbox.Warnings)
	}
	return client, sandbox, err
}

// createGrace is how long an interrupted creation may take to be answered, so that
// what was made can be removed. Whoever does not wait leaves it to the gateway, which
// takes back what nobody waits for.
const createGrace = 2 * time.Second

// withGrace is a context that ends some time after ctx.
func withGrace(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })
	return late, func() { stop(); cancel() }
}

// start starts a sandbox that this command has created. One that does not
// start, or is interrupted before it has, leaves nothing behind.
func (s *session) start(ctx context.Context, client *api.Client, sandbox api.Sandbox) (started api.Sandbox, err error) {
	err = s.interruptible(ctx, func(ctx context.Context) error {
		defer s.progress.followStart(ctx, client, "starting "+sandbox.Name, sandbox.ID)()
		var err error
		started, err = client.Start(ctx, sandbox.ID)
		return err
	})
	s.progress.done()
	if err == nil {
		return started, nil
	}
	return sandbox, withCleanup(withoutFiles(err, sandbox.ID), s.takeBack(client, sandbox))
}

// couldNotRun is an error where a start found out that the command can't be run
// or found: an engine learns it only then. A client that is attached reads it there.
func couldNotRun(s api.Sandbox) error {
	if s.State != api.StateExited || s.ExitCode == nil || s.Reason == "" {
		return nil
	}
	e := &api.Error{Message: fmt.Sprintf("%s: %s", s.Name, s.Reason), Hint: "give a program that is in it, and may be executed"}
	switch *s.ExitCode {
	case 126:
		e.Code = api.CodeNotExecutable
	case 127:
		e.Code = api.CodeNoCommand
	default:
		return nil
	}
	return e
}

// takeBack removes a sandbox that did not start. A signal leaves it to the user.
func (s *session) takeBack(client *api.Client, sandbox api.Sandbox) error {
	s.progress.step("removing " + sandbox.Name)
	err := s.interruptible(context.Background(), func(ctx context.Context) error { return remove(ctx, client, sandbox.ID) })
	s.progress.done()
	var interrupted exit
	if errors.As(err, &interrupted) {
		report(os.Stderr, usage(appName+" rm -f "+sandbox.Name+" removes it",
			"interrupted while %s was being removed: it may still be there", sandbox.Name))
		return nil
	}
	return err
}

// withoutFiles replaces a hint that names files of a sandbox that is removed
// for its failed start.
func withoutFiles(err error, id string) error {
	var answer *api.Error
	if !errors.As(err, &answer) || !strings.Contains(answer.Hint, id) {
		return err
	}
	kept := *answer
	kept.Hint = "it is removed; " + appName + " create, then start, keeps one that does not start, and its logs"
	return &kept
}

// foreground attaches, starts, and stays until the workload ends. Attaching
// first is what makes sure that no output is lost.
func (s *session) foreground(ctx context.Context, client *api.Client, sandbox api.Sandbox, removeAfter bool) error {
	attached := s.attach(ctx, client, sandbox.ID)
	select {
	case <-attached.connected:
	case sig := <-s.received:
		return withCleanup(exit(codeOfSignal(sig)), s.takeBack(client, sandbox))
	case <-attached.done: // perhaps after it was connected, if the command can't be run
		if attached.err != nil {
			return withCleanup(attached.err, s.takeBack(client, sandbox))
		}
	}
	if _, err := s.start(ctx, client, sandbox); err != nil {
		return err
	}
	if err := s.live(); err != nil {
		return withCleanup(err, s.takeBack(client, sandbox))
	}
	err := s.follow(ctx, attached, sandbox)
	if removeAfter && !errors.Is(err, errDetached) {
		err = withCleanup(err, remove(context.Background(), client, sandbox.ID))
	}
	return s.farewell(err, sandbox.Name)
}

func workloadCode(code int) error {
	if code == 0 {
		return nil
	}
	return exit(code)
}

// remove deletes what this command made.
func remove(ctx context.Context, client *api.Client, id string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := client.Remove(ctx, id, true); err != nil && !notFound(err) {
		return err
	}
	return nil
}

// withCleanup keeps the reason and tells of a failed clean-up, too.
func withCleanup(err, cleanup error) error {
	if cleanup == nil {
		return err
	}
	if err == nil {
		return cleanup
	}
	var code exit
	if errors.As(err, &code) {
		return cleanup
	}
	return errors.Join(err, cleanup)
}
