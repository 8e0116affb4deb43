package vm

import (
	"context"
	"errors"
	"io"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/monitor"
	"openshell-vm/drivers/vm/monitor/api"
	"openshell-vm/drivers/vm/monitor/logs"
)

// Attach connects streams to the workload. If the sandbox is not started yet, it waits for
// the start, and then gives all output since. The workload waits for a client that does
// not read.
func (d *Driver) Attach(ctx context.Context, id string, replay bool, s drivers.Streams) (int, error) {
	if _, err := d.spec(id); err != nil {
		return 0, err
	}
	started, cancel := d.started.Await(id)
	defer cancel()
	code, err := d.stream(ctx, id, api.StreamRequest{Attach: &api.AttachRequest{Replay: replay, Hold: true, Why: true}}, s)
	if !errors.Is(err, drivers.ErrNotRunning) {
		return code, err
	}
	select {
	case err := <-started:
		if err != nil {
			return 0, err
		}
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	code, err = d.stream(ctx, id, api.StreamRequest{Attach: &api.AttachRequest{Replay: true, Hold: true, Why: true}}, s)
	if errors.Is(err, drivers.ErrNotRunning) { // it has run and ended since
		return d.stored(id, s)
	}
	return code, err
}

// stored gives the output and the end of a sandbox that has ended, as an attached client
// would have seen them.
func (d *Driver) stored(id string, s drivers.Streams) (int, error) {
	if err := logs.Read(d.dir(id), s.Stdout, s.Stderr); err != nil {
		return 0, err
	}
	exit, err := monitor.ReadExit(d.dir(id))
	switch {
	case err != nil:
	case exit.State == drivers.Dead:
		err = errors.New(exit.Reason)
	case exit.Reason != "" && s.Stderr != nil:
		_, err = io.WriteString(s.Stderr, api.Note(exit.Reason))
	}
	return exit.ExitCode, err
}

// Exec runs a command in a running sandbox.
func (d *Driver) Exec(ctx context.Context, id string, p drivers.Process, s drivers.Streams) (int, error) {
	if _, err := d.spec(id); err != nil {
		return 0, err
	}
	p.Env = drivers.WithDefaults(p.Env, guestDefaults...)
	return d.stream(ctx, id, api.StreamRequest{Exec: &api.ExecRequest{Process: p, Stdin: s.Stdin != nil}}, s)
}

func (d *Driver) stream(ctx context.Context, id string, r api.StreamRequest, s drivers.Streams) (int, error) {
	c, err := api.Dial(d.runDir(id))
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return c.Stream(ctx, r, s)
}

// Logs gives the stored output, and with follow also what comes until the end. The workload
// does not wait for its client: output that is rotated away meanwhile is missing, and a note
// says so.
func (d *Driver) Logs(ctx context.Context, id string, follow bool, stdout, stderr io.Writer) error {
	if _, err := d.spec(id); err != nil {
		return err
	}
	if follow {
		request := api.StreamRequest{Attach: &api.AttachRequest{Replay: true}}
		_, err := d.stream(ctx, id, request, drivers.Streams{Stdout: stdout, Stderr: stderr})
		var ended *api.EndedError
		if errors.As(err, &ended) {
			return nil
		}
		if !errors.Is(err, drivers.ErrNotRunning) {
			return err
		}
	}
	return logs.Read(d.dir(id), stdout, stderr)
}
