package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"openshell-vm/gateway/api"
)

// forEach does one thing to each sandbox named, goes on after a failure, and
// reports all of them.
func forEach(c *cli.Context, doing string, f func(ctx context.Context, client *api.Client, ref string) error) error {
	refs, err := someArgs(c)
	if err != nil {
		return err
	}
	p := newProgress(os.Stderr)
	client, err := connect(c.Context, p)
	if err != nil {
		return err
	}
	var errs []error
	for _, ref := range refs {
		told := p.followStart(c.Context, client, doing+" "+ref, ref)
		err := f(c.Context, client, ref)
		told()
		if err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

func startAction(c *cli.Context) error {
	return forEach(c, "starting", func(ctx context.Context, client *api.Client, ref string) error {
		return done(c, ref, start(ctx, client, ref))
	})
}

func start(ctx context.Context, client *api.Client, ref string) error {
	started, err := client.Start(ctx, ref)
	if err != nil {
		return err
	}
	return couldNotRun(started)
}

func stopAction(c *cli.Context) error {
	grace := time.Duration(*c.Generic("time").(*grace))
	return forEach(c, "stopping", func(ctx context.Context, client *api.Client, ref string) error {
		_, err := client.Stop(ctx, ref, grace)
		return done(c, ref, err)
	})
}

func restartAction(c *cli.Context) error {
	grace := time.Duration(*c.Generic("time").(*grace))
	return forEach(c, "restarting", func(ctx context.Context, client *api.Client, ref string) error {
		_, err := client.Stop(ctx, ref, grace)
		if err == nil {
			err = start(ctx, client, ref)
		}
		return done(c, ref, err)
	})
}

// killAction stops without a grace: a sandbox that was only sent the signal
// would be one that should run. Other signals are the workload's own affair.
func killAction(c *cli.Context) error {
	number := unix.SIGKILL
	if name := c.String("signal"); name != "" {
		var err error
		if number, err = signalNumber(name); err != nil {
			return err
		}
	}
	return forEach(c, "killing", func(ctx context.Context, client *api.Client, ref string) error {
		if number != unix.SIGKILL {
			return done(c, ref, client.Signal(ctx, ref, int(number)))
		}
		sandbox, err := client.Get(ctx, ref)
		if err == nil && sandbox.State != api.StateRunning {
			err = &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("sandbox %s does not run: it is %s", sandbox.Name, sandbox.State),
				Hint: appName + " rm " + sandbox.Name + " removes it"}
		}
		if err == nil {
			_, err = client.Stop(ctx, ref, 0)
		}
		return done(c, ref, err)
	})
}

// signalNumber reads KILL, SIGKILL or 9.
func signalNumber(name string) (syscall.Signal, error) {
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n <= 64 {
		return syscall.Signal(n), nil
	}
	upper := strings.ToUpper(name)
	if !strings.HasPrefix(upper, "SIG") {
		upper = "SIG" + upper
	}
	if n := unix.SignalNum(upper); n != 0 {
		return n, nil
	}
	return 0, usage("give a name such as HUP, or a number between 1 and 64", "there is no signal %q", name)
}

func rmAction(c *cli.Context) error {
	force := c.Bool("force")
	return forEach(c, "removing", func(ctx context.Context, client *api.Client, ref string) error {
		err := client.Remove(ctx, ref, force)
		if force && notFound(err) {
			return nil
		}
		return done(c, ref, err)
	})
}

// waitAction prints codes and ends with 0: several sandboxes have several.
func waitAction(c *cli.Context) error {
	return forEach(c, "waiting for", func(ctx context.Context, client *api.Client, ref string) error {
		var result api.WaitResult
		err := overGateways(ctx, client, func(client *api.Client) (err error) {
			result, err = client.Wait(ctx, ref)
			return err
		})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(c.App.Writer, result.ExitCode)
		return err
	})
}

// done prints what was named once it has been done.
func done(c *cli.Context, ref string, err error) error {
	if err == nil {
		_, err = fmt.Fprintln(c.App.Writer, ref)
	}
	return err
}

func logsAction(c *cli.Context) error {
	ref, err := oneArg(c)
	if err != nil {
		return err
	}
	last, err := tailLines(c.String("tail"))
	if err != nil {
		return err
	}
	follow := c.Bool("follow")
	client, err := connect(c.Context, newProgress(os.Stderr))
	if err != nil {
		return err
	}
	switch {
	case follow && last < 0:
		return followLog(c.Context, client, ref, os.Stdout, os.Stderr)
	case follow:
		return followTail(c.Context, client, ref, last)
	case last < 0:
		return client.Logs(c.Context, ref, false, os.Stdout, os.Stderr)
	}
	var end tail
	if err := client.Logs(c.Context, ref, false, end.to(os.Stdout, last), end.to(os.Stderr, last)); err != nil {
		return err
	}
	return end.print(last)
}

// tailLines reads --tail's value; -1 means all.
func tailLines(text string) (int, error) {
	if text == "" || text == "all" {
		return -1, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, usage("give a number of lines, or all", "--tail %q is no number", text)
	}
	return n, nil
}
