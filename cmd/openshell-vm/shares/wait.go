package shares

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
)

// usualWait is what the gateway waits when no time is named.
const usualWait = "3s; 8s under libkrun"

func waitCommand() *cli.Command {
	return &cli.Command{
		Name: "wait", ArgsUsage: cmdline.OneShare,
		Usage: "wait until all who have a share mounted see its newest generation, a sandbox's too; exits with 1 if they do not in time",
		Flags: []cli.Flag{
			&cli.Uint64Flag{Name: "generation", Usage: "wait for the generation `N`, or a later one", DefaultText: "the newest"},
			&cli.DurationFlag{Name: "timeout", Usage: "give up after `DURATION`, such as 30s", DefaultText: usualWait},
		},
		Action: waitAction,
		Description: `# Go on once the sandbox sees what share put published as generation 12
openshell-vm share wait box --generation 12`,
	}
}

// waitAction prints the generation that is seen.
func waitAction(c *cli.Context) error {
	ref, err := cmdline.One(c)
	if err != nil {
		return err
	}
	timeout, err := waitTime(c, "timeout")
	if err != nil {
		return err
	}
	progress := say.NewProgress(os.Stderr)
	client, err := frame.Connect(c.Context, progress)
	if err != nil {
		return err
	}
	result, err := awaitSeen(c.Context, client, progress, ref, api.SeenRequest{Generation: c.Uint64("generation"), Timeout: timeout})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.App.Writer, result.Generation)
	return err
}

// awaitSeen waits, and shows that it does.
func awaitSeen(ctx context.Context, client *api.Client, p *say.Progress, ref string, q api.SeenRequest) (api.SeenResult, error) {
	p.Step("waiting until it is seen inside")
	defer p.Done()
	return client.Shares.Wait(ctx, ref, q)
}

// waitTime is the value of a flag; 0 if it is not set.
func waitTime(c *cli.Context, flag string) (time.Duration, error) {
	d := c.Duration(flag)
	if c.IsSet(flag) && d <= 0 {
		return 0, say.Errorf("give one such as 30s", "--%s %v is no time to wait", flag, d)
	}
	return d, nil
}
