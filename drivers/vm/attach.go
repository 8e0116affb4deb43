package vm

import (
	"context"
	"errors"
	"io"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/monitor/api"
	"openshell-vm/drivers/vm/monitor/logs"
)

// Attach connects streams to the workload. If the sandbox is not started yet, it waits for
// the start, and then gives all output since. The workload waits for a client that does
// not read.
func (d *Driver) Attach(ctx context.Context, id string, replay bool, s drivers.Streams) (int, error) {
	b, err := d.find(id)
	if err != nil {
		return 0, err
	}
	started, cancel := d.started.Await(id)
	defer cancel()
	code, err := b.stream(ctx, api.StreamRequest{Attach: &api.AttachRequest{Replay: replay, Hold: true, Why: true}}, s)
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
	code, err = b.stream(ctx, api.StreamRequest{Attach: &api.AttachRequest{Replay: true, Hold: true, Why: true}}, s)
	if errors.Is(err, drivers.ErrNotRunning) { // it has run and ended since
		return b.stored(s)
	}
	return code, err
}

// Exec runs a command in a running sandbox.
func (d *Driver) Exec(ctx context.Context, id string, p drivers.Process, s drivers.Streams) (int, error) {
	b, err := d.find(id)
	if err != nil {
		return 0, err
	}
	p.Env = drivers.WithDefaults(p.Env, guestDefaults...)
	return b.stream(ctx, api.StreamRequest{Exec: &api.ExecRequest{Process: p, Stdin: s.Stdin != nil}}, s)
}

// Logs gives the stored output, and with follow also what comes until the end. The workload
// does not wait for its client: output that is rotated away meanwhile is missing, and a note
// says so.
func (d *Driver) Logs(ctx context.Context, id string, follow bool, stdout, stderr io.Writer) error {
	b, err := d.find(id)
	if err != nil {
		return err
	}
	if follow {
		request := api.StreamRequest{Attach: &api.AttachRequest{Replay: true}}
		_, err := b.stream(ctx, request, drivers.Streams{Stdout: stdout, Stderr: stderr})
		var ended *api.EndedError
		if errors.As(err, &ended) {
			return nil
		}
		if !errors.Is(err, drivers.ErrNotRunning) {
			return err
		}
	}
	return logs.Read(b.dir, stdout, stderr)
}
