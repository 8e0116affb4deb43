package docker

import (
	"context"
	"io"
	"time"

	"github.com/docker/docker/api/types"
	api "github.com/docker/docker/api/types/container"

	"openshell-vm/drivers"
	"openshell-vm/drivers/container"
)

// noDetach is a key sequence that nobody types. Docker knows no "none", and its default
// takes ^P away from the workload.
const noDetach = "ctrl-@,ctrl-_,ctrl-@,ctrl-_"

// conn is a container.Conn.
type conn struct{ *types.HijackedResponse }

func (c conn) Read(p []byte) (int, error)  { return c.Reader.Read(p) }
func (c conn) Write(p []byte) (int, error) { return c.Conn.Write(p) }
func (c conn) Close() error                { return c.Conn.Close() }

func (e *engine) Logs(ctx context.Context, name string, follow bool, since time.Time) (io.ReadCloser, error) {
	cli, err := e.client()
	if err != nil {
		return nil, err
	}
	out, err := cli.ContainerLogs(ctx, name, api.LogsOptions{
		ShowStdout: true, ShowStderr: true, Follow: follow, Since: since.Format(time.RFC3339Nano),
	})
	return out, wrap(err)
}

func (e *engine) Attach(ctx context.Context, name string, stdin, output bool) (container.Conn, error) {
	cli, err := e.client()
	if err != nil {
		return nil, err
	}
	h, err := cli.ContainerAttach(ctx, name, api.AttachOptions{
		Stream: true, Stdin: stdin, Stdout: output, Stderr: output, DetachKeys: noDetach,
	})
	if err != nil {
		return nil, wrap(err)
	}
	return conn{&h}, nil
}

func (e *engine) Resize(ctx context.Context, name string, size drivers.Size) error {
	cli, err := e.client()
	if err != nil {
		return err
	}
	return wrap(cli.ContainerResize(ctx, name, api.ResizeOptions{Height: uint(size.Rows), Width: uint(size.Cols)}))
}

func (e *engine) ExecCreate(ctx context.Context, name string, p drivers.Process, stdin bool) (string, error) {
	cli, err := e.client()
	if err != nil {
		return "", err
	}
	created, err := cli.ContainerExecCreate(ctx, name, api.ExecOptions{
		Cmd: p.Args, Env: p.Env, WorkingDir: p.Dir, User: p.User, Tty: p.Terminal,
		AttachStdin: stdin, AttachStdout: true, AttachStderr: true, DetachKeys: noDetach,
	})
	return created.ID, wrap(err)
}

func (e *engine) ExecAttach(ctx context.Context, exec string, p drivers.Process) (container.Conn, error) {
	cli, err := e.client()
	if err != nil {
		return nil, err
	}
	h, err := cli.ContainerExecAttach(ctx, exec, api.ExecAttachOptions{Tty: p.Terminal})
	if err != nil {
		return nil, wrap(err)
	}
	if p.Terminal && p.Size != (drivers.Size{}) {
		// A command that has ended already has no terminal any more.
		_ = e.ExecResize(ctx, exec, p.Size)
	}
	return conn{&h}, nil
}

func (e *engine) ExecResize(ctx context.Context, exec string, size drivers.Size) error {
	cli, err := e.client()
	if err != nil {
		return err
	}
	return wrap(cli.ContainerExecResize(ctx, exec, api.ResizeOptions{Height: uint(size.Rows), Width: uint(size.Cols)}))
}

func (e *engine) ExecInspect(ctx context.Context, exec string) (container.ExecState, error) {
	cli, err := e.client()
	if err != nil {
		return container.ExecState{}, err
	}
	s, err := cli.ContainerExecInspect(ctx, exec)
	return container.ExecState{Running: s.Running, ExitCode: s.ExitCode, PID: s.Pid}, wrap(err)
}
