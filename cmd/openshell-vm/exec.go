package main

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"

	"openshell-vm/gateway/api"
)

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
	switch {
	case isEnding(err):
		return usage("run it again; the sandbox goes on: "+appName+" ps",
			"the gateway was stopped or restarted, and the command in %s was ended with it", ref)
	case gatewayGone(err):
		return usage("see "+appName+" ps, and whether it still runs inside; the sandbox goes on",
			"the gateway is gone, and with it the way to the command in %s", ref)
	case err != nil:
		return err
	}
	return workloadCode(code)
}
