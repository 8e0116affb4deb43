// Package images is the command image, and what run and create say of an image.
package images

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/cmd/openshell-vm/show"
	"openshell-vm/gateway/api"
)

// Command is image.
func Command() *cli.Command {
	return &cli.Command{Name: "image", Usage: "the images of VMs; Docker and Podman have commands of their own for theirs",
		Subcommands: subcommands()}
}

func subcommands() []*cli.Command {
	return []*cli.Command{
		{Name: "ls", Aliases: []string{"list"}, Usage: "list them",
			Flags:  []cli.Flag{frame.Output(), frame.NoTrunc(), frame.Bool("only ids", "quiet", "q")},
			Action: listAction,
			Description: `# Each with the sandboxes that were made of it
openshell-vm image ls

# For a script
openshell-vm image ls --output json`},
		{Name: "pull", Usage: "fetch one, and make a VM's root of it", ArgsUsage: cmdline.OneImage,
			Flags:  []cli.Flag{driverFlag(), platformFlag(), frame.Bool("no word about it", "quiet", "q")},
			Action: pullAction,
			Description: `# From a registry, with what docker login or podman login has kept
openshell-vm image pull debian:12

# From what else there is
openshell-vm image pull oci:./layout:latest
openshell-vm image pull docker-archive:saved.tar
openshell-vm image pull docker-daemon:mine:latest
openshell-vm image pull containers-storage:localhost/mine`},
		{Name: "rm", Aliases: []string{"remove"}, Usage: "take a name away, and remove the image if that was its last one",
			ArgsUsage: cmdline.Images, Action: rmAction},
		{Name: "prune", Usage: "remove images without a name and a sandbox, and what was fetched and is not needed to run",
			Flags:  []cli.Flag{frame.Bool("also images with a name", "all", "a"), frame.Bool("do not ask", "force", "f")},
			Action: pruneAction},
		{Name: "inspect", Usage: "show all that is known of it", ArgsUsage: cmdline.Images,
			Flags: []cli.Flag{frame.Output("f")}, Action: inspectAction},
	}
}

func listAction(c *cli.Context) error {
	all := func(client *api.Client) ([]api.Image, error) { return client.Images.List(c.Context) }
	return frame.List(c, all, func(i api.Image) string { return i.ID }, show.ImageTable, frame.Itself)
}

func pullAction(c *cli.Context) error {
	name, err := cmdline.One(c)
	if err != nil {
		return err
	}
	if err := platform(c); err != nil {
		return err
	}
	r := api.CreateRequest{Driver: c.String("driver")}
	if r.Image, err = absolute(name); err != nil {
		return err
	}
	p := say.NewProgress(os.Stderr)
	client, err := frame.Connect(c.Context, p)
	if err != nil {
		return err
	}
	if err := p.Pull(c.Context, client, r, api.PullAlways, c.Bool("quiet")); err != nil {
		return err
	}
	fmt.Fprintln(c.App.Writer, name)
	return nil
}

func rmAction(c *cli.Context) error {
	names, err := cmdline.Some(c)
	if err != nil {
		return err
	}
	client, err := frame.Connect(c.Context, say.NewProgress(os.Stderr))
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		name, err := absolute(name)
		if err == nil {
			_, err = client.Images.Remove(c.Context, name)
		}
		errs = append(errs, frame.Done(c, name, err))
	}
	return errors.Join(errs...)
}

func pruneAction(c *cli.Context) error {
	if err := cmdline.None(c); err != nil {
		return err
	}
	client, err := frame.Connect(c.Context, say.NewProgress(os.Stderr))
	if err != nil {
		return err
	}
	if !c.Bool("force") && !frame.Confirmed(os.Stdin, "This removes the images of which no sandbox was made"+
		map[bool]string{false: " and that have no name"}[c.Bool("all")]+", and what was fetched for others.") {
		return nil
	}
	freed, err := client.Images.Prune(c.Context, c.Bool("all"))
	if err != nil {
		return err
	}
	for _, name := range freed.Images {
		fmt.Fprintln(c.App.Writer, name)
	}
	fmt.Fprintln(os.Stderr, units.BytesSize(float64(freed.Bytes)), "of the disk are free again")
	return nil
}

func inspectAction(c *cli.Context) error {
	get := func(ctx context.Context, client *api.Client, name string) (api.Image, error) {
		name, err := absolute(name)
		if err != nil {
			return api.Image{}, err
		}
		return client.Images.Get(ctx, name)
	}
	return frame.Inspect(c, get, show.ImageFacts)
}
