package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"openshell-vm/gateway/api"
)

// connect gives a client of the gateway, which it starts if none listens.
func connect(ctx context.Context, p *progress) (*api.Client, error) {
	p.step("starting the gateway")
	defer p.done()
	return api.EnsureStarted(ctx, "")
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
	_, sandbox, err := s.create(c.Context, request)
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
	client, sandbox, err := s.create(c.Context, request)
	if err != nil {
		return err
	}
	if !detach {
		return s.foreground(c.Context, client, sandbox, request.AutoRemove)
	}
	if err := s.start(c.Context, client, sandbox); err != nil {
		return err
	}
	fmt.Fprintln(c.App.Writer, sandbox.ID)
	return nil
}

// create makes the sandbox and prints the gateway's warnings.
func (s *session) create(ctx context.Context, r api.CreateRequest) (client *api.Client, sandbox api.Sandbox, err error) {
	err = s.interruptible(ctx, func(ctx context.Context) error {
		if client, err = connect(ctx, s.progress); err != nil {
			return err
		}
		s.progress.step("creating the sandbox")
		defer s.progress.done()
		sandbox, err = client.Create(ctx, r)
		return err
	})
	for _, warning := range sandbox.Warnings {
		fmt.Fprintf(os.Stderr, "openshell-vm: warning: %s\n", oneLine(warning))
	}
	return client, sandbox, err
}

// start starts a sandbox that this command has created. One that does not
// start, or is interrupted before it has, leaves nothing behind.
func (s *session) start(ctx context.Context, client *api.Client, sandbox api.Sandbox) error {
	err := s.interruptible(ctx, func(ctx context.Context) error {
		s.progress.step("starting " + sandbox.Name)
		_, err := client.Start(ctx, sandbox.ID)
		return err
	})
	s.progress.done()
	if err != nil {
		err = withCleanup(err, remove(client, sandbox.ID))
	}
	return err
}

// foreground attaches, starts, and stays until the workload ends. Attaching
// first is what makes sure that no output is lost.
func (s *session) foreground(ctx context.Context, client *api.Client, sandbox api.Sandbox, removeAfter bool) error {
	attached := s.attach(ctx, client, sandbox.ID)
	select {
	case <-attached.connected:
	case <-attached.done:
		return withCleanup(attached.err, remove(client, sandbox.ID))
	}
	if err := s.start(ctx, client, sandbox); err != nil {
		return err
	}
	if err := s.live(); err != nil {
		return withCleanup(err, remove(client, sandbox.ID))
	}
	err := s.follow(ctx, attached, sandbox)
	if removeAfter && !errors.Is(err, errDetached) {
		err = withCleanup(err, remove(client, sandbox.ID))
	}
	return s.farewell(err, sandbox.Name)
}

// farewell turns an end by the detach keys into a success that is said.
func (s *session) farewell(err error, name string) error {
	s.close()
	if !errors.Is(err, errDetached) {
		return err
	}
	fmt.Fprintf(os.Stderr, "\nopenshell-vm: detached; openshell-vm attach %s connects again\n", name)
	return nil
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
// between the two is not shown; logs has it.
func (s *session) follow(ctx context.Context, a *attachment, sandbox api.Sandbox) error {
	defer close(s.ended)
	for {
		<-a.done
		if !errors.Is(a.err, api.ErrStreamLost) {
			break
		}
		client, err := api.EnsureStarted(ctx, "")
		if err != nil {
			return err
		}
		now, err := client.Get(ctx, sandbox.ID)
		if err != nil {
			return err
		}
		switch {
		case now.State == "exited" && now.ExitCode != nil:
			return workloadCode(*now.ExitCode)
		case now.State == "dead":
			return fmt.Errorf("sandbox %s is dead: %s", now.Name, now.Reason)
		}
		a = s.attach(ctx, client, sandbox.ID)
	}
	if a.err != nil {
		return a.err
	}
	return workloadCode(a.code)
}

func workloadCode(code int) error {
	if code == 0 {
		return nil
	}
	return exit(code)
}

// remove deletes what this command made, also when its own context has ended.
func remove(client *api.Client, id string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
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
	if sandbox.State != "running" && sandbox.State != "starting" {
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

func execAction(c *cli.Context) error {
	if c.NArg() < 2 {
		return argsError(c)
	}
	ref, command := c.Args().First(), c.Args().Tail()
	if command[0] == "--" {
		command = command[1:]
	}
	if len(command) == 0 || strings.HasPrefix(command[0], "-") {
		return usage("flags stand before the sandbox: openshell-vm exec -it "+ref+" COMMAND", "no command after %q", ref)
	}
	request := api.ExecRequest{Stdin: c.Bool("interactive")}
	var err error
	if request.Process, err = process(c, command); err != nil {
		return err
	}
	s, err := newSession(request.Stdin, request.Process.Terminal)
	if err != nil {
		return err
	}
	defer s.close()
	request.Process.Size = s.size()
	var client *api.Client
	err = s.interruptible(c.Context, func(ctx context.Context) error {
		client, err = connect(ctx, s.progress)
		return err
	})
	if err != nil {
		return err
	}
	if err := s.live(); err != nil {
		return err
	}
	defer close(s.ended)
	return s.exec(c.Context, client, ref, request)
}

// exec runs a further command. The detach keys end it: there is no way back to it.
func (s *session) exec(ctx context.Context, client *api.Client, ref string, r api.ExecRequest) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-s.detached:
			cancel()
		case <-ctx.Done():
		}
	}()
	code, err := client.Exec(ctx, ref, r, s.streams())
	select {
	case <-s.detached:
		return nil
	default:
	}
	if err != nil {
		return err
	}
	return workloadCode(code)
}
