package docker

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	api "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/go-connections/nat"

	"openshell-vm/drivers"
	"openshell-vm/drivers/container"
	"openshell-vm/drivers/container/said"
	"openshell-vm/internal/vocab"
)

// wrap turns the client's kinds of error into the drivers'.
func wrap(err error) error {
	switch {
	case err == nil:
		return nil
	case cerrdefs.IsNotFound(err):
		return fmt.Errorf("%w (%v)", drivers.ErrNotFound, err)
	}
	return err
}

func (e *engine) Create(ctx context.Context, o container.Object) (string, error) {
	info, err := e.ask(ctx, false)
	if err != nil {
		return "", err
	}
	if secured(info, "selinux") {
		for _, share := range o.Shares {
			if err := label(share.Source); err != nil {
				return "", err
			}
		}
	}
	made, err := e.cli.ContainerCreate(ctx, configOf(o), hostConfigOf(o), nil, nil, o.Name)
	if cerrdefs.IsConflict(err) {
		err = fmt.Errorf("%w (%v)", drivers.ErrExists, err)
	}
	return made.ID, err
}

func configOf(o container.Object) *api.Config {
	p := o.Process
	exposed, _ := portsOf(o)
	return &api.Config{
		ExposedPorts: exposed,
		Image:        o.Image, Cmd: p.Args, Entrypoint: o.Program(), Env: p.Env, WorkingDir: p.Dir, User: p.User,
		Tty: p.Terminal, OpenStdin: o.Stdin, StdinOnce: o.Stdin,
		AttachStdin: o.Stdin, AttachStdout: true, AttachStderr: true,
		Labels: o.Labels,
	}
}

// portsOf makes Docker's form of the published ports. Docker wants both of it.
func portsOf(o container.Object) (nat.PortSet, nat.PortMap) {
	if len(o.Ports) == 0 {
		return nil, nil
	}
	exposed, bound := nat.PortSet{}, nat.PortMap{}
	for _, p := range o.Ports {
		inside := nat.Port(p.Inside())
		exposed[inside] = struct{}{}
		bound[inside] = append(bound[inside], nat.PortBinding{HostIP: p.IP().String(), HostPort: strconv.Itoa(int(p.Host))})
	}
	return exposed, bound
}

func hostConfigOf(o container.Object) *api.HostConfig {
	h := &api.HostConfig{
		RestartPolicy: api.RestartPolicy{Name: api.RestartPolicyDisabled},
		LogConfig: api.LogConfig{Type: "json-file", Config: map[string]string{
			"max-size": strconv.Itoa(container.LogSize), "max-file": strconv.Itoa(container.LogFiles),
		}},
		Resources: resources(o.CPUs, o.Memory),
	}
	_, h.PortBindings = portsOf(o)
	if o.NoNetwork {
		h.NetworkMode = "none"
	}
	for _, b := range slices.Concat(o.Shares, o.Binds) {
		h.Mounts = append(h.Mounts, mount.Mount{
			Type: mount.TypeBind, Source: b.Source, Target: b.Target, ReadOnly: !b.Writable,
			BindOptions: &mount.BindOptions{
				Propagation: mount.PropagationRPrivate, NonRecursive: !b.Recursive, ReadOnlyForceRecursive: b.Recursive && !b.Writable,
			},
		})
	}
	for _, target := range o.Masks {
		h.Mounts = append(h.Mounts, mount.Mount{
			Type: mount.TypeTmpfs, Target: target, ReadOnly: true,
			TmpfsOptions: &mount.TmpfsOptions{SizeBytes: 4096, Mode: 0o555},
		})
	}
	return h
}

func (e *engine) Start(ctx context.Context, name string) error {
	cli, err := e.client()
	if err != nil {
		return err
	}
	err = cli.ContainerStart(ctx, name, api.StartOptions{})
	if cerrdefs.IsNotFound(err) {
		// Also what a missing command is called: look which it is.
		if _, missing := cli.ContainerInspect(ctx, name); missing == nil {
			return err
		}
	}
	return wrap(err)
}

func (e *engine) Kill(ctx context.Context, name string, sig int) error {
	cli, err := e.client()
	if err != nil {
		return err
	}
	err = cli.ContainerKill(ctx, name, strconv.Itoa(sig))
	if cerrdefs.IsConflict(err) {
		return fmt.Errorf("%w (%v)", drivers.ErrNotRunning, err)
	}
	return wrap(err)
}

// Remove waits until the container is gone, also if it was being removed already.
func (e *engine) Remove(ctx context.Context, name string) error {
	cli, err := e.client()
	if err != nil {
		return err
	}
	err = cli.ContainerRemove(ctx, name, api.RemoveOptions{Force: true, RemoveVolumes: true})
	if cerrdefs.IsConflict(err) {
		removed, failed := cli.ContainerWait(ctx, name, api.WaitConditionRemoved)
		select {
		case <-removed:
			return nil
		case err = <-failed:
		}
	}
	return wrap(err)
}

func (e *engine) Wait(ctx context.Context, name string, next bool) (int, error) {
	cli, err := e.client()
	if err != nil {
		return 0, err
	}
	condition := api.WaitConditionNotRunning
	if next {
		condition = api.WaitConditionNextExit
	}
	ended, failed := cli.ContainerWait(ctx, name, condition)
	select {
	case r := <-ended:
		if r.Error != nil {
			return 0, fmt.Errorf("wait: %s", r.Error.Message)
		}
		return int(r.StatusCode), nil
	case err := <-failed:
		return 0, wrap(err)
	}
}

func (e *engine) Stat(ctx context.Context, name, path string) (container.Stat, error) {
	cli, err := e.client()
	if err != nil {
		return container.Stat{}, err
	}
	s, err := cli.ContainerStatPath(ctx, name, path)
	return container.Stat{IsDir: s.Mode.IsDir(), Modified: s.Mtime}, wrap(err)
}

func (e *engine) List(ctx context.Context, label, value string) ([]string, error) {
	cli, err := e.client()
	if err != nil {
		return nil, err
	}
	all, err := cli.ContainerList(ctx, api.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", label+"="+value))})
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, c := range all {
		ids = append(ids, c.ID)
	}
	return ids, nil
}

func (e *engine) Mounts(ctx context.Context) ([]drivers.Mounting, error) {
	cli, err := e.client()
	if err != nil {
		return nil, err
	}
	all, err := cli.ContainerList(ctx, api.ListOptions{All: true})
	if err != nil {
		return nil, err
	}
	var found []drivers.Mounting
	for _, c := range all {
		name := c.ID
		if len(c.Names) > 0 {
			name = strings.TrimPrefix(c.Names[0], "/")
		}
		for _, m := range c.Mounts {
			if m.Type == mount.TypeBind {
				found = append(found, drivers.Mounting{Object: name, Source: m.Source, Target: m.Destination,
					Running: c.State == "running" || c.State == "paused"})
			}
		}
	}
	return found, nil
}

func (e *engine) Inspect(ctx context.Context, name string) (container.Found, error) {
	cli, err := e.client()
	if err != nil {
		return container.Found{}, err
	}
	c, err := cli.ContainerInspect(ctx, name)
	if err != nil {
		return container.Found{}, wrap(err)
	}
	f := container.Found{ID: c.ID, Name: c.Name[1:], Image: c.Config.Image, Labels: c.Config.Labels, Env: c.Config.Env,
		Writable: map[string]bool{}, Sources: map[string]string{}}
	for _, m := range c.Mounts {
		f.Writable[m.Destination] = m.RW
		if m.Type == mount.TypeBind {
			f.Sources[m.Destination] = m.Source
		}
	}
	if n, ok := vocab.Signal(c.Config.StopSignal); ok {
		f.StopSignal = n
	}
	f.State, f.ExitCode, f.Reason = stateOf(c.State)
	f.StartedAt, f.ExitedAt = timeOf(c.State.StartedAt), timeOf(c.State.FinishedAt)
	if f.State == drivers.Running {
		f.PID = c.State.Pid
	}
	return f, nil
}

// stateOf translates a state. If the command could not be run, Docker leaves the
// container "created", with an exit code that says so.
func stateOf(s *api.State) (state drivers.State, exitCode int, reason string) {
	switch s.Status {
	case api.StateCreated:
		if s.ExitCode == 126 || s.ExitCode == 127 {
			return drivers.Exited, s.ExitCode, said.Line(s.Error)
		}
		return drivers.Created, 0, said.Line(s.Error)
	case api.StatePaused:
		return drivers.Running, 0, container.Paused
	case api.StateRunning, api.StateRestarting:
		return drivers.Running, 0, ""
	case api.StateExited:
		if s.OOMKilled {
			return drivers.Exited, s.ExitCode, "it ran out of memory"
		}
		return drivers.Exited, s.ExitCode, said.Line(s.Error)
	}
	return drivers.Dead, 0, "docker says " + s.Status
}

// timeOf reads a time; Docker's zero one means none.
func timeOf(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() < 1970 {
		return time.Time{}
	}
	return t
}
