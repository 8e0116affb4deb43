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

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/gateways"
	"openshell-vm/cmd/openshell-vm/images"
	"openshell-vm/cmd/openshell-vm/project"
	"openshell-vm/cmd/openshell-vm/request"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/cmd/openshell-vm/session"
	"openshell-vm/gateway/api"
)

func runCommand() *cli.Command {
	return &cli.Command{
		Name: "run", Usage: "create a sandbox and run a command in it", ArgsUsage: cmdline.NewCommand,
		Flags: append(slices.Concat(request.Flags(), project.Flags()),
			frame.Bool("leave it running in the background and print its id", "detach", "d")),
		Action: runAction,
		Description: `# A shell in a minimal VM, which is removed at its end
openshell-vm run -it --rm

# A program of a root of your own, with a token that lives 15 minutes
openshell-vm run --rootfs ./debian --ttl 15m -- agent --serve

# A container in the background
openshell-vm run -d --name box --driver podman --image alpine -- sleep inf

# An agent with a token for its own service, beside the one for the gateway, and no key
openshell-vm run --image alpine --token https://api.example.com,ttl=15m -- cat /etc/openshell/auth/api.example.com.jwt

# A directory of this host to work in, and a volume that stays
openshell-vm run --mount .:/work:rw -v cache:/root/.cache -w /work -- make

# A directory of this host, read-only, more memory, a variable of this shell
openshell-vm run --mount ./src:/src -w /src -m 2g -e API_URL -- ./test.sh`,
	}
}

func runAction(c *cli.Context) error {
	q, err := request.Read(c)
	if err != nil {
		return err
	}
	detach := c.Bool("detach")
	s, err := session.New(q.Stdin && !detach, q.Process.Terminal)
	if err != nil {
		return err
	}
	defer s.Close()
	q.Process.Size = s.Size()
	client, sandbox, err := create(c.Context, s, nil, q, images.PullPolicy(c), c.Bool("quiet"))
	if err != nil {
		return err
	}
	if !detach {
		return foreground(c.Context, s, client, sandbox, func() {}, q.AutoRemove)
	}
	say.Warn(slices.Concat(client.Met().Advice, client.Met().Short))
	started, err := startNew(c.Context, s, client, sandbox)
	if err != nil {
		return err
	}
	if err := couldNotRun(started); err != nil {
		return withCleanup(err, takeBack(s, client, sandbox))
	}
	fmt.Fprintln(c.App.Writer, sandbox.ID)
	return nil
}

// create makes the sandbox. It prints the gateway's warnings, unless it is to be quiet. known is a
// client if there is one already.
func create(ctx context.Context, s *session.Session, known *api.Client, r api.CreateRequest, policy api.PullPolicy, quiet bool) (
	client *api.Client, sandbox api.Sandbox, err error,
) {
	err = s.Interruptible(ctx, func(ctx context.Context) error {
		if client = known; client == nil {
			if client, err = frame.Connect(ctx, s.Progress); err != nil {
				return err
			}
		}
		if err = s.Progress.Pull(ctx, client, r, policy, quiet); err != nil {
			return err
		}
		s.Progress.Step("creating the sandbox")
		defer s.Progress.Done()
		late, cancel := withGrace(ctx, createGrace)
		defer cancel()
		sandbox, err = client.Create(late, r)
		return err
	})
	if err != nil && sandbox.ID != "" { // interrupted, and made all the same
		return client, sandbox, withCleanup(err, takeBack(s, client, sandbox))
	}
	if !quiet {
		say.Warn(sandbox.Warnings)
	}
	return client, sandbox, err
}

// createGrace is how long the answer to an interrupted creation is waited for, so that
// what was made can be removed. If it comes later, the gateway takes the sandbox back.
const createGrace = 2 * time.Second

// withGrace is a context that ends some time after ctx.
func withGrace(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })
	return late, func() { stop(); cancel() }
}

// startNew starts a sandbox that this command has created. If it does not start, or is
// interrupted before it has, nothing is left of it.
func startNew(ctx context.Context, s *session.Session, client *api.Client, sandbox api.Sandbox) (started api.Sandbox, err error) {
	err = s.Interruptible(ctx, func(ctx context.Context) error {
		defer s.Progress.FollowStart(ctx, client, "starting "+sandbox.Name, sandbox.ID)()
		var err error
		started, err = client.Start(ctx, sandbox.ID)
		return err
	})
	s.Progress.Done()
	if err == nil {
		return started, nil
	}
	return sandbox, withCleanup(withoutFiles(err, sandbox.ID), takeBack(s, client, sandbox))
}

// couldNotRun is an error if the command can't be run or found. An engine learns that only
// at the start. A client that is attached reads it there.
func couldNotRun(s api.Sandbox) error {
	if s.State != api.StateExited || s.ExitCode == nil || s.Reason == "" {
		return nil
	}
	e := &api.Error{Message: fmt.Sprintf("%s: %s", s.Name, s.Reason), Hint: commandHint(s.Reason)}
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

// commandHint is what to do about a command that can't be run, by the reason that the
// engine or the guest gives.
func commandHint(reason string) string {
	for _, c := range []struct{ word, hint string }{
		{"not found in $PATH", "give a program that is in the sandbox's $PATH, or a path in it; the image may lack it"},
		{"interpreter or loader",
			"run the interpreter that the image has, such as sh FILE; a program that is linked to another libc needs that one"},
		{"no such file", "give a path that is in the sandbox; one of this host has to be mounted first"},
		{"exec format error", "give a program for this host's architecture, or for a script its interpreter, such as sh FILE"},
		{"permission denied",
			"give a file that may be executed (chmod +x) and is no directory, or for a script its interpreter, such as sh FILE"},
	} {
		if strings.Contains(reason, c.word) {
			return c.hint
		}
	}
	return "give a program that is in it, and may be executed"
}

// takeBack removes a sandbox that did not start. A signal leaves it to the user.
func takeBack(s *session.Session, client *api.Client, sandbox api.Sandbox) error {
	s.Progress.Step("removing " + sandbox.Name)
	err := s.Interruptible(context.Background(), func(ctx context.Context) error { return remove(ctx, client, sandbox.ID) })
	s.Progress.Done()
	var interrupted say.Exit
	if errors.As(err, &interrupted) {
		say.Report(os.Stderr, say.Errorf(say.Program+" rm -f "+sandbox.Name+" removes it",
			"interrupted while %s was being removed: it may still be there", sandbox.Name))
		return nil
	}
	return err
}

// withoutFiles replaces a hint that names files of the sandbox: its start failed, and it
// is removed.
func withoutFiles(err error, id string) error {
	var answer *api.Error
	if !errors.As(err, &answer) || !strings.Contains(answer.Hint, id) {
		return err
	}
	kept := *answer
	kept.Hint = "it is removed; " + say.Program + " create, then start, keeps one that does not start, and its logs"
	return &kept
}

// foreground attaches, starts, and stays until the workload ends. It attaches first, so
// that no output is lost.
func foreground(ctx context.Context, s *session.Session, client *api.Client, sandbox api.Sandbox, running func(), removeAfter bool) error {
	attached := s.Attach(ctx, client, sandbox.ID)
	if err := s.Connected(attached); err != nil {
		return withCleanup(err, takeBack(s, client, sandbox))
	}
	started, err := startNew(ctx, s, client, sandbox)
	if err != nil {
		return err
	}
	running()
	if err := s.Live(); err != nil {
		return withCleanup(err, takeBack(s, client, sandbox))
	}
	err = s.Follow(ctx, client, attached, sandbox)
	if removeAfter && !errors.Is(err, session.ErrDetached) {
		err = withCleanup(err, remove(context.Background(), client, sandbox.ID))
	}
	err = s.Farewell(err, sandbox.Name)
	if couldNotRun(started) != nil { // the reason came with the output
		fmt.Fprintln(os.Stderr, "hint: "+commandHint(started.Reason))
	}
	return err
}

// remove deletes what this command made.
func remove(ctx context.Context, client *api.Client, id string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := client.Remove(ctx, id, true); err != nil && !gateways.NotFound(err) {
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
	var code say.Exit
	if errors.As(err, &code) {
		return cleanup
	}
	return errors.Join(err, cleanup)
}
