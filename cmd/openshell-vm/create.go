package main

import (
	"bufio"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"openshell-vm/gateway/api"
)

// processFlags are those of a command in a sandbox: run, create and exec.
func processFlags() []cli.Flag {
	return []cli.Flag{
		boolFlag("connect standard input", "interactive", "i"),
		boolFlag("with a terminal; ctrl-p ctrl-q detaches from it", "tty", "t"),
		&cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "set `K=V`, or K as it is here (repeatable)"},
		&cli.StringSliceFlag{Name: "env-file", Usage: "read K=V lines from `FILE` (repeatable)"},
		&cli.StringFlag{Name: "user", Aliases: []string{"u"}, Usage: "run as `USER[:GROUP]`"},
		&cli.StringFlag{Name: "workdir", Aliases: []string{"w"}, Usage: "run in `DIR` of the sandbox"},
	}
}

// createFlags are run's and create's.
func createFlags() []cli.Flag {
	return append(processFlags(),
		&cli.StringFlag{Name: "name", Usage: "call it `NAME`"},
		boolFlag("remove it once it has ended", "rm"),
		boolFlag("no warnings, and no word about images", "quiet", "q"),
		ttlFlag(),
		&cli.StringFlag{Name: "driver", Usage: "`DRIVER`: auto, vm, docker or podman", Value: "auto"},
		&cli.StringFlag{Name: "hypervisor", Usage: "`HYPERVISOR` of a VM: " + strings.Join(api.Hypervisors, ", "), Value: "auto"},
		&cli.StringFlag{Name: "rootfs", Usage: "`DIR` as its root, below an overlay; without: a minimal busybox userland"},
		&cli.StringFlag{Name: "image", Usage: "container image `REF`"},
		&cli.StringFlag{Name: "entrypoint", Usage: "run `PROGRAM` in place of the image's, with COMMAND as its arguments"},
		boolFlag("keep what it writes in memory; gone when it stops", "ephemeral"),
		boolFlag("rather not run than in a VM that this host can't confine fully", "require-jail"),
		&cli.StringSliceFlag{Name: "mount", Usage: "show it the directory `SRC:DST`, read-only (repeatable); " +
			"type=bind,source=SRC,target=DST,readonly, too"},
		&cli.StringSliceFlag{Name: "volume", Aliases: []string{"v"}, Usage: "docker's spelling of --mount: `SRC:DST:ro` (repeatable)"},
		&cli.Float64Flag{Name: "cpus", Usage: "`N` CPUs", DefaultText: "the driver's choice"},
		&cli.StringFlag{Name: "memory", Aliases: []string{"m"}, Usage: "memory `SIZE` such as 512m", DefaultText: "the driver's choice"},
		&cli.StringFlag{Name: "disk", Usage: "`SIZE` of what a VM may write, such as 2g", DefaultText: "16g, or half of what is free"},
		&cli.StringFlag{Name: "token-user", Usage: "`USER` inside who may read the token", DefaultText: "the workload's"},
	)
}

// createRequest is what run's flags and arguments ask for. What can be known
// here only (the current directory, the environment) is resolved here; whether
// it makes sense is for the gateway to judge.
func createRequest(c *cli.Context) (api.CreateRequest, error) {
	r := api.CreateRequest{
		Name:        c.String("name"),
		Driver:      c.String("driver"),
		Hypervisor:  c.String("hypervisor"),
		Image:       c.String("image"),
		Stdin:       c.Bool("interactive"),
		Ephemeral:   c.Bool("ephemeral"),
		AutoRemove:  c.Bool("rm"),
		CPUs:        c.Float64("cpus"),
		RequireJail: c.Bool("require-jail"),
		TokenUser:   c.String("token-user"),
	}
	if c.IsSet("rootfs") && c.IsSet("image") {
		return r, usage("leave one of them out", "--rootfs and --image are both given")
	}
	if c.IsSet("cpus") && !(r.CPUs > 0 && r.CPUs <= math.MaxInt32) {
		return r, usage("give a number above 0, such as 1.5", "%v CPUs", r.CPUs)
	}
	var errs [6]error
	r.Process, errs[0] = process(c, c.Args().Slice())
	r.Rootfs, errs[1] = rootfs(c)
	r.Memory, errs[2] = sizeFlag(c, "memory", "512m or 2g")
	var warnings []string
	r.Mounts, warnings, errs[3] = mounts(c.StringSlice("mount"), c.StringSlice("volume"))
	r.TTL, errs[4] = lifetime(c)
	r.Disk, errs[5] = sizeFlag(c, "disk", "512m or 20g")
	for _, err := range errs {
		if err != nil {
			return r, err
		}
	}
	if !c.Bool("quiet") {
		warn(warnings)
	}
	return entrypoint(r, c.String("entrypoint")), nil
}

// entrypoint puts the program first: an image's own is replaced by its engine,
// a directory has none.
func entrypoint(r api.CreateRequest, program string) api.CreateRequest {
	switch {
	case r.Image != "":
		r.Entrypoint = program
	case program != "":
		r.Process.Args = append([]string{program}, r.Process.Args...)
	}
	return r
}

// lifetime reads --ttl; 0 leaves it to the gateway.
func lifetime(c *cli.Context) (time.Duration, error) {
	ttl := c.Duration("ttl")
	if c.IsSet("ttl") && ttl <= 0 {
		return 0, usage("leave --ttl out for 1h, or give a lifetime such as 15m",
			"token lifetime %v: there is no token without expiry", ttl)
	}
	return ttl, nil
}

func process(c *cli.Context, args []string) (api.Process, error) {
	env, err := environment(c.StringSlice("env-file"), c.StringSlice("env"))
	return api.Process{
		Args: args, Env: env, Dir: c.String("workdir"), User: c.String("user"), Terminal: c.Bool("tty"),
	}, err
}

func rootfs(c *cli.Context) (string, error) {
	switch dir := c.String("rootfs"); {
	case dir != "":
		return filepath.Abs(dir)
	case c.IsSet("rootfs"):
		return "", usage("give a directory, or leave --rootfs out for a minimal userland", "--rootfs is empty")
	}
	return "", nil
}

// sizeFlag reads a flag that is a size; 0 if it is not given.
func sizeFlag(c *cli.Context, flag, such string) (int64, error) {
	text := c.String(flag)
	if !c.IsSet(flag) {
		return 0, nil
	}
	n, err := units.RAMInBytes(text)
	if err != nil || n <= 0 {
		return 0, usage("give a size such as "+such, "%s %q is not a size", flag, text)
	}
	return n, nil
}

// environment reads the files, then the flags; the later of two settings of a
// name counts. A name without a value takes this process's, if it has one.
func environment(files, settings []string) ([]string, error) {
	var lines []string
	for _, file := range files {
		more, err := envFile(file)
		if err != nil {
			return nil, err
		}
		lines = append(lines, more...)
	}
	var env []string
	at := map[string]int{}
	for _, line := range append(lines, settings...) {
		name, _, hasValue := strings.Cut(line, "=")
		if name == "" || strings.ContainsAny(name, " \t\n\x00") || strings.Contains(line, "\x00") {
			return nil, usage("write NAME=VALUE", "environment %q is malformed", line)
		}
		if !hasValue {
			value, set := os.LookupEnv(name)
			if !set {
				continue
			}
			line = name + "=" + value
		}
		if i, again := at[name]; again {
			env[i] = line
			continue
		}
		at[name] = len(env)
		env = append(env, line)
	}
	return env, nil
}

// envFile gives a file's lines without comments and empty ones.
func envFile(name string) ([]string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, usage("give a readable file with lines NAME=VALUE", "environment file: %v", err)
	}
	defer f.Close()
	var lines []string
	for s := bufio.NewScanner(f); ; {
		if !s.Scan() {
			if err := s.Err(); err != nil {
				return nil, usage("give a text file with lines NAME=VALUE", "environment file %s: %v", name, err)
			}
			return lines, nil
		}
		if line := strings.TrimLeft(s.Text(), " \t"); line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
}

// grace is a flag value: seconds, or a duration with its unit.
type grace time.Duration

func newGrace() *grace {
	g := grace(10 * time.Second)
	return &g
}

func (g *grace) Set(text string) error {
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		*g = grace(time.Duration(n) * time.Second)
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return errors.New("not a number of seconds")
	}
	*g = grace(d)
	return nil
}

func (g *grace) String() string { return fmt.Sprint(time.Duration(*g).Seconds()) }
