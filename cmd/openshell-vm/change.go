package main

import (
	"context"
	"math"
	"time"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/request"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
)

func renameCommand() *cli.Command {
	return &cli.Command{
		Name: "rename", Usage: "give a sandbox another name", ArgsUsage: cmdline.Renaming,
		Action: renameAction,
	}
}

func renameAction(c *cli.Context) error {
	args := c.Args().Slice()
	if len(args) != 2 {
		return cmdline.WrongArgs(c)
	}
	client, err := frame.Connect(c.Context, nil)
	if err != nil {
		return err
	}
	_, err = client.Rename(c.Context, args[0], args[1])
	return err
}

func updateCommand() *cli.Command {
	return &cli.Command{
		Name: "update", Usage: "change limits, token lifetime or restart policy of sandboxes", ArgsUsage: cmdline.Sandboxes,
		Flags: []cli.Flag{
			&cli.Float64Flag{Name: "cpus", Usage: "`N` CPUs; of a VM from its next start on"},
			&cli.StringFlag{Name: "memory", Aliases: []string{"m"}, Usage: "memory `SIZE` such as 512m; of a VM from its next start on"},
			&cli.DurationFlag{Name: "ttl", Usage: "`DURATION` such as 15m that its tokens live; a new one is published now"},
			request.RestartFlag(),
		},
		Action: updateAction,
		Description: `# Shorter-lived tokens, from now on
openshell-vm update --ttl 15m box

# More memory; a VM has it after its next start
openshell-vm update -m 4g box`,
	}
}

func updateAction(c *cli.Context) error {
	q, err := updateRequest(c)
	if err != nil {
		return err
	}
	return frame.ForEach(c, "changing", func(ctx context.Context, client *api.Client, ref string) error {
		result, err := client.Update(ctx, ref, q)
		if err == nil && result.AtNextStart {
			say.Warn([]string{ref + " runs with its old limits until openshell-vm restart " + ref})
		}
		return frame.Done(c, ref, err)
	})
}

func updateRequest(c *cli.Context) (q api.UpdateRequest, err error) {
	if q.CPUs = c.Float64("cpus"); c.IsSet("cpus") && !(q.CPUs > 0 && q.CPUs <= math.MaxInt32) {
		return q, say.Errorf("give a number above 0, such as 1.5", "%v CPUs", q.CPUs)
	}
	if q.Memory, err = request.Size(c, "memory", "512m or 2g"); err != nil {
		return q, err
	}
	if c.IsSet("ttl") {
		var ttl time.Duration
		if ttl, err = frame.Lifetime(c); err != nil {
			return q, err
		}
		q.TTL = &ttl
	}
	if c.IsSet("restart") {
		policy, err := request.RestartPolicy(c.String("restart"))
		if err != nil {
			return q, err
		}
		q.Restart = &policy
	}
	if q == (api.UpdateRequest{}) {
		return q, say.Errorf("give --cpus, --memory, --ttl or --restart", "there is nothing to change")
	}
	return q, nil
}
