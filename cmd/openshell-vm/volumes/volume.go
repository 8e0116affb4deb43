// Package volumes is the command volume.
package volumes

import (
	"context"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/cmd/openshell-vm/show"
	"openshell-vm/gateway/api"
)

// Command is volume.
func Command() *cli.Command {
	return &cli.Command{Name: "volume", Usage: "directories that sandboxes write to, and that stay", Subcommands: []*cli.Command{
		{Name: "create", Usage: "make a volume, or take the one that exists; run -v NAME:/DIR makes it, too", ArgsUsage: cmdline.NewName,
			Flags: []cli.Flag{frame.Output()}, Action: createAction,
			Description: `# A volume, for openshell-vm run -v work:/work
openshell-vm volume create work`},
		{Name: "ls", Aliases: []string{"list"}, Usage: "list the volumes and who uses them",
			Flags: []cli.Flag{frame.Bool("only names", "quiet", "q"), frame.NoTrunc(), frame.Output()}, Action: listAction,
			Description: `# Names only
openshell-vm volume ls -q`},
		{Name: "inspect", Usage: "show all about volumes", ArgsUsage: cmdline.Volumes,
			Flags: []cli.Flag{frame.Output("f")}, Action: inspectAction},
		{Name: "rm", Aliases: []string{"remove"}, Usage: "remove volumes with all that is in them; not those that a sandbox uses",
			ArgsUsage: cmdline.Volumes, Action: rmAction,
			Flags: []cli.Flag{frame.Bool("no error for those that are gone", "force", "f")}},
		{Name: "prune", Usage: "remove all volumes that no sandbox uses",
			Flags:  []cli.Flag{frame.Bool("do not ask", "force", "f"), frame.Bool("docker's: all are meant in any case", "all", "a")},
			Action: pruneAction},
	}}
}

func createAction(c *cli.Context) error {
	arguments := func() (func(context.Context, *api.Client) (api.Volume, error), error) {
		name, err := cmdline.One(c)
		return func(ctx context.Context, client *api.Client) (api.Volume, error) {
			return client.Volumes.Create(ctx, api.VolumeRequest{Name: name})
		}, err
	}
	return frame.Create(c, arguments, func(*api.Client, api.Volume) []string { return nil },
		func(v api.Volume) error { return frame.Done(c, v.Name, nil) })
}

func listAction(c *cli.Context) error {
	all := func(client *api.Client) ([]api.Volume, error) { return client.Volumes.List(c.Context) }
	return frame.List(c, all, func(v api.Volume) string { return v.Name }, show.VolumeTable, frame.Itself)
}

func inspectAction(c *cli.Context) error {
	return frame.Inspect(c, func(ctx context.Context, client *api.Client, name string) (api.Volume, error) {
		return client.Volumes.Get(ctx, name)
	}, show.VolumeFacts)
}

func rmAction(c *cli.Context) error {
	return frame.Remove(c, func(ctx context.Context, client *api.Client, name string) error {
		return client.Volumes.Remove(ctx, name)
	})
}

func pruneAction(c *cli.Context) error {
	if err := cmdline.None(c); err != nil {
		return err
	}
	client, err := frame.Connect(c.Context, say.NewProgress(os.Stderr))
	if err != nil {
		return err
	}
	all, err := client.Volumes.List(c.Context)
	if err != nil {
		return err
	}
	var unused []string
	for _, v := range all {
		if len(v.UsedBy) == 0 {
			unused = append(unused, v.Name)
		}
	}
	question := "This removes the volumes that no sandbox uses, with all that is in them: " + strings.Join(unused, ", ")
	if len(unused) == 0 || !c.Bool("force") && !frame.Confirmed(os.Stdin, question) {
		return nil
	}
	return frame.RemoveAll(c, unused, func(name string) (string, error) {
		return name, client.Volumes.Remove(c.Context, name) // refuses one that is used by now
	})
}
