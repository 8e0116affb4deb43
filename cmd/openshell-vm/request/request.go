// Package request reads what run and create ask for: their flags and arguments, as a request
// to the gateway. What is about a process is exec's, too.
package request

import (
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/images"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
)

// Flags are run's and create's.
func Flags() []cli.Flag {
	return append(slices.Concat(ProcessFlags(), keepFlags(), mountFlags(), images.Flags(), networkFlags(), portFlags(), TokenFlags(),
		SourceFlags(), shareFlags(), onRenewFlags()),
		&cli.StringFlag{Name: "name", Usage: "call it `NAME`"},
		frame.Bool("remove it once it has ended", "rm"),
		frame.Bool("no warnings, and no word about images", "quiet", "q"),
		frame.TTL(),
		cmdline.Choice{Of: []string{"auto", "vm", "docker", "podman"}, StringFlag: &cli.StringFlag{Name: "driver", Value: "auto",
			Usage: "`DRIVER`: auto, vm, docker or podman"}},
		cmdline.Choice{Of: api.Hypervisors, StringFlag: &cli.StringFlag{Name: "hypervisor", Value: "auto",
			Usage: "`HYPERVISOR` of a VM: " + strings.Join(api.Hypervisors, ", ")}},
		&cli.StringFlag{Name: "rootfs", Usage: "`DIR` as its root, below an overlay; without: a minimal busybox userland"},
		&cli.StringFlag{Name: "image", Usage: "container image `REF`; for a VM also oci:DIR, oci-archive:FILE, docker-archive:FILE, " +
			"docker-daemon:REF, containers-storage:REF"},
		&cli.StringFlag{Name: "entrypoint", Usage: "run `PROGRAM` in place of the image's, with COMMAND as its arguments; " +
			"'' runs COMMAND alone"},
		frame.Bool("keep what it writes in memory; gone when it stops", "ephemeral"),
		frame.Bool("do not run it in a VM that this host can't confine fully", "require-jail"),
		&cli.Float64Flag{Name: "cpus", Usage: "`N` CPUs", DefaultText: "the driver's choice"},
		&cli.StringFlag{Name: "memory", Aliases: []string{"m"}, Usage: "memory `SIZE` such as 512m", DefaultText: "the driver's choice"},
		&cli.StringFlag{Name: "disk", Usage: "`SIZE` of what a VM may write, such as 2g", DefaultText: "16g, or half of what is free"},
		&cli.StringFlag{Name: "token-user", Usage: "`USER` inside who may read the token", DefaultText: "the workload's"},
		frame.Bool("a VM keeps a mirror of its share, for programs that wait for inotify", "inotify"),
	)
}

// Read is what run's flags and arguments ask for. What only this process knows
// is resolved here: the current directory, the environment. The gateway judges whether
// the whole makes sense.
func Read(c *cli.Context) (api.CreateRequest, error) {
	r := api.CreateRequest{
		Name:        c.String("name"),
		Driver:      c.String("driver"),
		Hypervisor:  c.String("hypervisor"),
		Stdin:       c.Bool("interactive"),
		Ephemeral:   c.Bool("ephemeral"),
		AutoRemove:  c.Bool("rm"),
		CPUs:        c.Float64("cpus"),
		RequireJail: c.Bool("require-jail"),
		TokenUser:   c.String("token-user"),
		Inotify:     c.Bool("inotify"),
	}
	if c.IsSet("rootfs") && c.IsSet("image") {
		return r, say.Errorf("leave one of them out", "--rootfs and --image are both given")
	}
	if c.IsSet("cpus") && !(r.CPUs > 0 && r.CPUs <= math.MaxInt32) {
		return r, say.Errorf("give a number above 0, such as 1.5", "%v CPUs", r.CPUs)
	}
	errs := make([]error, 7)
	r.Process, errs[0] = Process(c, c.Args().Slice())
	r.Rootfs, errs[1] = rootfs(c)
	r.Memory, errs[2] = Size(c, "memory", "512m or 2g")
	var warnings []string
	r.Mounts, warnings, errs[3] = mounts(c.StringSlice("mount"), c.StringSlice("volume"))
	r.TTL, errs[4] = frame.Lifetime(c)
	r.Disk, errs[5] = Size(c, "disk", "512m or 20g")
	r.Tokens, errs[6] = Tokens(c)
	for _, read := range []func(*cli.Context, *api.CreateRequest) error{
		readKeep, images.Read, readNetwork, readPorts, readSources, readShares, readOnRenew,
	} {
		errs = append(errs, read(c, &r))
	}
	for _, err := range errs {
		if err != nil {
			return r, err
		}
	}
	if !c.Bool("quiet") {
		say.Warn(warnings)
	}
	return entrypoint(r, c.String("entrypoint"), c.IsSet("entrypoint"))
}

// entrypoint puts the program first. An image has one of its own, which its engine
// replaces. A directory has none. An empty one leaves the image's out: COMMAND is run
// as it is.
func entrypoint(r api.CreateRequest, program string, given bool) (api.CreateRequest, error) {
	args := r.Process.Args
	switch {
	case r.Image != "" && given && program == "":
		if len(args) == 0 {
			return r, say.Errorf("give a COMMAND: the image's own goes with its entry point",
				"--entrypoint is empty, and there is no command")
		}
		r.Entrypoint, r.Process.Args = args[0], args[1:]
	case r.Image != "":
		r.Entrypoint = program
	case program != "":
		r.Process.Args = append([]string{program}, args...)
	}
	return r, nil
}

func rootfs(c *cli.Context) (string, error) {
	switch dir := c.String("rootfs"); {
	case dir != "":
		return filepath.Abs(dir)
	case c.IsSet("rootfs"):
		return "", say.Errorf("give a directory, or leave --rootfs out for a minimal userland", "--rootfs is empty")
	}
	return "", nil
}

// Size reads a flag that is a size; 0 if it is not given.
func Size(c *cli.Context, flag, such string) (int64, error) {
	text := c.String(flag)
	if !c.IsSet(flag) {
		return 0, nil
	}
	n, err := units.RAMInBytes(text)
	if err != nil || n <= 0 {
		return 0, say.Errorf("give a size such as "+such, "%s %q is not a size", flag, text)
	}
	return n, nil
}
