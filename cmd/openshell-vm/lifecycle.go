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
		p.step(doing + " " + ref)
		err := f(c.Context, client, ref)
		p.done()
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
		_, err := client.Start(ctx, ref)
		return done(c, ref, err)
	})
}

func stopAction(c *cli.Context) error {
	grace := time.Duration(*c.Generic("time").(*grace))
	return forEach(c, "stopping", func(ctx context.Context, client *api.Client, ref string) error {
		_, err := client.StopSandbox(ctx, ref, grace)
		return done(c, ref, err)
	})
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
		result, err := client.Wait(ctx, ref)
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
	client, err := connect(c.Context, newProgress(os.Stderr))
	if err != nil {
		return err
	}
	return client.Logs(c.Context, ref, c.Bool("follow"), os.Stdout, os.Stderr)
}
