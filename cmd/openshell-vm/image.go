package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/cmd/openshell-vm/show"
	"openshell-vm/gateway/api"
)

func imageCommand() *cli.Command {
	return &cli.Command{Name: "image", Usage: "the images of VMs; Docker and Podman have commands of their own for theirs", Subcommands: []*cli.Command{
		{Name: "ls", Aliases: []string{"list"}, Usage: "list them",
			Flags:  []cli.Flag{outputFlag(), noTruncFlag(), boolFlag("only ids", "quiet", "q")},
			Action: imageListAction,
			Description: `# Each with the sandboxes that were made of it
openshell-vm image ls

# For a script
openshell-vm image ls --output json`},
		{Name: "pull", Usage: "fetch one, and make a VM's root of it", ArgsUsage: cmdline.OneImage,
			Flags:  []cli.Flag{imageDriverFlag(), platformFlag(), boolFlag("no word about it", "quiet", "q")},
			Action: imagePullAction,
			Description: `# From a registry, with what docker login or podman login has kept
openshell-vm image pull debian:12

# From what else there is
openshell-vm image pull oci:./layout:latest
openshell-vm image pull docker-archive:saved.tar
openshell-vm image pull docker-daemon:mine:latest
openshell-vm image pull containers-storage:localhost/mine`},
		{Name: "rm", Aliases: []string{"remove"}, Usage: "take a name away, and remove the image if that was its last one",
			ArgsUsage: cmdline.Images, Action: imageRmAction},
		{Name: "prune", Usage: "remove images without a name and a sandbox, and what was fetched and is not needed to run",
			Flags: []cli.Flag{boolFlag("also images with a name", "all", "a"), boolFlag("do not ask", "force", "f")}, Action: imagePruneAction},
		{Name: "inspect", Usage: "show all that is known of it", ArgsUsage: cmdline.Images, Flags: []cli.Flag{outputFlag("f")}, Action: imageInspectAction},
	}}
}

// imageFlags are run's and create's.
func imageFlags() []cli.Flag {
	return []cli.Flag{
		cmdline.Choice{Of: []string{"always", "missing", "never"}, StringFlag: &cli.StringFlag{Name: "pull", Value: "missing",
			Usage: "fetch the image `WHEN`: always, missing or never"}},
		platformFlag(),
	}
}

func platformFlag() cli.Flag {
	return &cli.StringFlag{Name: "platform", Usage: "`OS/ARCH` of the image; only this host's own", DefaultText: "this host's"}
}

func imageDriverFlag() cli.Flag {
	return cmdline.Choice{Of: []string{"vm", "docker", "podman"}, StringFlag: &cli.StringFlag{Name: "driver", Value: "vm",
		Usage: "for sandboxes of `DRIVER`: vm, docker or podman"}}
}

// pullPolicy reads --pull.
func pullPolicy(c *cli.Context) api.PullPolicy {
	if p := c.String("pull"); p != "missing" {
		return api.PullPolicy(p)
	}
	return api.PullMissing
}

// readImage reads what is said of the image.
func readImage(c *cli.Context, r *api.CreateRequest) (err error) {
	if c.IsSet("image") && c.String("image") == "" {
		return say.Errorf("give an image, such as --image debian:12, or leave --image out", "--image is empty")
	}
	if err := platform(c); err != nil {
		return err
	}
	r.Image, err = absolute(c.String("image"))
	return err
}

// platform refuses one that this host can't run.
func platform(c *cli.Context) error {
	wanted, own := c.String("platform"), "linux/"+runtime.GOARCH
	if wanted == "" || wanted == own || runtime.GOARCH == "arm64" && wanted == own+"/v8" {
		return nil
	}
	return say.Errorf("leave it out, or give "+own, "--platform %s: this host runs %s only", wanted, own)
}

// absolute makes the path in an image's name absolute, if there is one: the gateway has
// another current directory.
func absolute(image string) (string, error) {
	kind, rest, _ := strings.Cut(image, ":")
	switch kind {
	case "oci", "oci-archive", "docker-archive":
	default:
		return image, nil
	}
	path, name, named := strings.Cut(rest, ":")
	if path == "" {
		return image, nil
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if named {
		path += ":" + name
	}
	return kind + ":" + path, nil
}

func imageListAction(c *cli.Context) error {
	all := func(client *api.Client) ([]api.Image, error) { return client.Images.List(c.Context) }
	return list(c, all, func(i api.Image) string { return i.ID }, show.ImageTable, itself)
}

func imagePullAction(c *cli.Context) error {
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
	client, err := connect(c.Context, p)
	if err != nil {
		return err
	}
	if err := p.Pull(c.Context, client, r, api.PullAlways, c.Bool("quiet")); err != nil {
		return err
	}
	fmt.Fprintln(c.App.Writer, name)
	return nil
}

func imageRmAction(c *cli.Context) error {
	names, err := cmdline.Some(c)
	if err != nil {
		return err
	}
	client, err := connect(c.Context, say.NewProgress(os.Stderr))
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		name, err := absolute(name)
		if err == nil {
			_, err = client.Images.Remove(c.Context, name)
		}
		errs = append(errs, done(c, name, err))
	}
	return errors.Join(errs...)
}

func imagePruneAction(c *cli.Context) error {
	if err := cmdline.None(c); err != nil {
		return err
	}
	client, err := connect(c.Context, say.NewProgress(os.Stderr))
	if err != nil {
		return err
	}
	if !c.Bool("force") && !confirmed(os.Stdin, "This removes the images of which no sandbox was made"+
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

func imageInspectAction(c *cli.Context) error {
	get := func(client *api.Client, ctx context.Context, name string) (api.Image, error) {
		name, err := absolute(name)
		if err != nil {
			return api.Image{}, err
		}
		return client.Images.Get(ctx, name)
	}
	return inspect(c, get, show.ImageFacts)
}
