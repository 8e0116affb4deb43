package podman

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/container"
)

func (e *engine) Logs(ctx context.Context, name string, follow bool, since time.Time) (io.ReadCloser, error) {
	response, err := e.send(ctx, http.MethodGet, "/containers/%s/logs", values(
		"stdout", "true", "stderr", "true", "follow", strconv.FormatBool(follow), "since", since.Format(time.RFC3339Nano),
	), nil, name)
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

// Attach lets Podman make a container that does not run ready to start.
func (e *engine) Attach(ctx context.Context, name string, stdin, output bool) (container.Conn, error) {
	query := values("stream", "true", "detachKeys", "") // empty: no keys detach
	if stdin {
		query.Set("stdin", "true")
	}
	if output {
		query.Set("stdout", "true")
		query.Set("stderr", "true")
	}
	var c *conn
	err := whileImproper(ctx, attachPatience, func() (err error) {
		if err = e.settle(ctx, name); err == nil {
			c, err = e.hijack(ctx, "/containers/%s/attach", query, nil, name)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (e *engine) Resize(ctx context.Context, name string, size drivers.Size) error {
	return e.call(ctx, http.MethodPost, "/containers/%s/resize", sizeOf(size), nil, nil, name)
}

func sizeOf(size drivers.Size) map[string][]string {
	return values("h", strconv.Itoa(int(size.Rows)), "w", strconv.Itoa(int(size.Cols)))
}

func (e *engine) ExecCreate(ctx context.Context, name string, p drivers.Process, stdin bool) (string, error) {
	var created struct{ ID string }
	err := e.call(ctx, http.MethodPost, "/containers/%s/exec", nil, map[string]any{
		"Cmd": p.Args, "Env": p.Env, "WorkingDir": p.Dir, "User": p.User, "Tty": p.Terminal,
		"AttachStdin": stdin, "AttachStdout": true, "AttachStderr": true, "DetachKeys": "",
	}, &created, name)
	return created.ID, err
}

func (e *engine) ExecAttach(ctx context.Context, exec string, p drivers.Process) (container.Conn, error) {
	start := map[string]any{"Detach": false, "Tty": p.Terminal}
	if p.Terminal && p.Size != (drivers.Size{}) {
		start["h"], start["w"] = p.Size.Rows, p.Size.Cols
	}
	c, err := e.hijack(ctx, "/exec/%s/start", nil, start, exec)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (e *engine) ExecResize(ctx context.Context, exec string, size drivers.Size) error {
	return e.call(ctx, http.MethodPost, "/exec/%s/resize", sizeOf(size), nil, nil, exec)
}

func (e *engine) ExecInspect(ctx context.Context, exec string) (container.ExecState, error) {
	var s struct {
		Running  bool
		ExitCode int
		Pid      int
	}
	err := e.ask(ctx, http.MethodGet, "/exec/%s/json", nil, &s, exec)
	if s.Running {
		e.stuck.look(s.Pid)
	}
	return container.ExecState{Running: s.Running, ExitCode: s.ExitCode, PID: s.Pid}, err
}
