package main

import (
	"context"
	"fmt"
	"syscall"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
)

func killCommand() *cli.Command {
	return &cli.Command{
		Name: "kill", Usage: "end sandboxes at once, or send them another signal", ArgsUsage: cmdline.Sandboxes,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "signal", Aliases: []string{"s"}, Usage: "`SIGNAL` to send, a name or a number", DefaultText: "KILL"},
		}, Action: killAction,
	}
}

// killAction stops the sandbox without a grace. If it only sent SIGKILL, the gateway would
// take the sandbox for one that should run. Other signals are the workload's own affair.
func killAction(c *cli.Context) error {
	number := unix.SIGKILL
	if name := c.String("signal"); name != "" {
		var err error
		if number, err = signalNumber(name); err != nil {
			return err
		}
	}
	return frame.ForEach(c, "killing", func(ctx context.Context, client *api.Client, ref string) error {
		if number != unix.SIGKILL {
			return frame.Done(c, ref, client.Signal(ctx, ref, int(number)))
		}
		sandbox, err := client.Get(ctx, ref)
		if err == nil && sandbox.State != api.StateRunning {
			err = doesNotRun(sandbox, say.Program+" rm "+sandbox.Name+" removes it")
		}
		if err == nil {
			_, err = client.Stop(ctx, ref, 0)
		}
		return frame.Done(c, ref, err)
	})
}

// signalNumber reads KILL, SIGKILL or 9.
func signalNumber(name string) (syscall.Signal, error) {
	if n, ok := api.SignalNumber(name); ok {
		return syscall.Signal(n), nil
	}
	return 0, say.Errorf("give a name such as HUP, or a number between 1 and 64", "there is no signal %q", name)
}

// doesNotRun is the error of whoever wants a sandbox to run, with a hint for that. A sandbox
// of unknown state may run.
func doesNotRun(sandbox api.Sandbox, hint string) error {
	if sandbox.State == api.StateUnknown {
		return &api.Error{Code: api.CodeDriver,
			Message: fmt.Sprintf("whether sandbox %s runs is not known: %s", sandbox.Name, sandbox.Reason),
			Hint:    "openshell-vm doctor says how its engine is"}
	}
	return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("sandbox %s does not run: it is %s", sandbox.Name, sandbox.State),
		Hint: hint}
}
