package images

import (
	"path/filepath"
	"runtime"
	"strings"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
)

// Flags are run's and create's.
func Flags() []cli.Flag {
	return []cli.Flag{
		cmdline.Choice{Of: []string{"always", "missing", "never"}, StringFlag: &cli.StringFlag{Name: "pull", Value: "missing",
			Usage: "fetch the image `WHEN`: always, missing or never"}},
		platformFlag(),
	}
}

func platformFlag() cli.Flag {
	return &cli.StringFlag{Name: "platform", Usage: "`OS/ARCH` of the image; only this host's own", DefaultText: "this host's"}
}

func driverFlag() cli.Flag {
	return cmdline.Choice{Of: []string{"vm", "docker", "podman"}, StringFlag: &cli.StringFlag{Name: "driver", Value: "vm",
		Usage: "for sandboxes of `DRIVER`: vm, docker or podman"}}
}

// PullPolicy reads --pull.
func PullPolicy(c *cli.Context) api.PullPolicy {
	if p := c.String("pull"); p != "missing" {
		return api.PullPolicy(p)
	}
	return api.PullMissing
}

// Read reads what is said of the image.
func Read(c *cli.Context, r *api.CreateRequest) (err error) {
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
