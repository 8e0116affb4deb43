package main

import (
	"context"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/gateways"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/cmd/openshell-vm/show"
	"openshell-vm/gateway/api"
)

func volumeCommand() *cli.Command {
	return &cli.Command{Name: "volume", Usage: "directories that sandboxes write to, and that stay", Subcommands: []*cli.Command{
		{Name: "create", Usage: "make a volume, or take the one that exists; run -v NAME:/DIR makes it, too", ArgsUsage: cmdline.NewName,
			Flags: []cli.Flag{outputFlag()}, Action: volumeCreateAction,
			Description: `# A volume, for openshell-vm run -v work:/work
openshell-vm volume create work`},
		{Name: "ls", Aliases: []string{"list"}, Usage: "list the volumes and who uses them",
			Flags: []cli.Flag{boolFlag("only names", "quiet", "q"), noTruncFlag(), outputFlag()}, Action: volumeListAction,
			Description: `# Names only
openshell-vm volume ls -q`},
		{Name: "inspect", Usage: "show all about volumes", ArgsUsage: cmdline.Volumes,
			Flags: []cli.Flag{outputFlag("f")}, Action: volumeInspectAction},
		{Name: "rm", Aliases: []string{"remove"}, Usage: "remove volumes with all that is in them; not those that a sandbox uses",
			ArgsUsage: cmdline.Volumes, Action: volumeRmAction,
			Flags: []cli.Flag{boolFlag("no error for those that are gone", "force", "f")}},
		{Name: "prune", Usage: "remove all volumes that no sandbox uses",
			Flags:  []cli.Flag{boolFlag("do not ask", "force", "f"), boolFlag("docker's: all are meant in any case", "all", "a")},
			Action: volumePruneAction},
	}}
}

func volumeCreateAction(c *cli.Context) error {
	asJSON, err := wantJSON(c)
	if err != nil {
		return err
	}
	name, err := cmdline.One(c)
	if err != nil {
		return err
	}
	client, err := connect(c.Context, say.NewProgress(os.Stderr))
	if err != nil {
		return err
	}
	v, err := client.Volumes.Create(c.Context, api.VolumeRequest{Name: name})
	if err != nil {
		return err
	}
	if asJSON {
		return show.PrintJSON(c.App.Writer, v)
	}
	return done(c, v.Name, nil)
}

func volumeListAction(c *cli.Context) error {
	all := func(client *api.Client) ([]api.Volume, error) { return client.Volumes.List(c.Context) }
	return list(c, all, func(v api.Volume) string { return v.Name }, show.VolumeTable, itself)
}

func volumeInspectAction(c *cli.Context) error {
	return inspect(c, func(client *api.Client, ctx context.Context, name string) (api.Volume, error) {
		return client.Volumes.Get(ctx, name)
	}, show.VolumeFacts)
}

func volumeRmAction(c *cli.Context) error {
	force := c.Bool("force")
	return forEach(c, "removing", func(ctx context.Context, client *api.Client, name string) error {
		err := client.Volumes.Remove(ctx, name)
		if force && gateways.NotFound(err) {
			return nil
		}
		return done(c, name, err)
	})
}

func volumePruneAction(c *cli.Context) error {
	if err := cmdline.None(c); err != nil {
		return err
	}
	client, err := connect(c.Context, say.NewProgress(os.Stderr))
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
	if len(unused) == 0 || !c.Bool("force") && !confirmed(os.Stdin, question) {
		return nil
	}
	return removeAll(c, unused, func(name string) (string, error) {
		return name, client.Volumes.Remove(c.Context, name) // refuses one that is used by now
	})
}
