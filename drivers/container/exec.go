package container

import (
	"context"
	"errors"
	"io"
	"strings"

	"openshell-vm/drivers"
	"openshell-vm/drivers/container/pump"
	"openshell-vm/drivers/container/said"
)

func (d *Driver) Exec(ctx context.Context, id string, p drivers.Process, s drivers.Streams) (int, error) {
	f, err := d.finder.find(ctx, id)
	if err != nil {
		return 0, err
	}
	if f.State != drivers.Running {
		return 0, drivers.ErrNotRunning
	}
	exec, err := d.engine.ExecCreate(ctx, f.ID, p, s.Stdin != nil)
	if err != nil {
		return 0, explainExec(d.engine, d.orEnded(ctx, f.ID, err))
	}
	c := command{d.engine, f, exec}
	first := &head{w: pump.OrDiscard(s.Stdout)}
	s.Stdout = first
	conn, err := d.engine.ExecAttach(ctx, exec, p)
	if ctx.Err() != nil && err != nil {
		return 0, errors.Join(ctx.Err(), c.kill(ctx)) // it may have begun
	} else if err != nil {
		if code := said.ExecFailure(err); code != 0 {
			return code, nil
		}
		return 0, explainExec(d.engine, d.orEnded(ctx, f.ID, err))
	}
	var killed error
	err = pump.Pump{
		Output: conn, Input: conn, Terminal: p.Terminal, Streams: s,
		Resize:  func(size drivers.Size) error { return d.engine.ExecResize(ctx, exec, size) },
		Signal:  func(sig int) { _ = c.signal(ctx, sig) },
		Abandon: func() { killed = c.kill(ctx) },
	}.Run(ctx, conn)
	if ctx.Err() != nil {
		return 0, errors.Join(ctx.Err(), killed)
	}
	if err != nil && !pump.IsReset(err) {
		return 0, d.engine.Explain("read from the command", err)
	}
	code, err := c.end(ctx)
	if code == said.CannotExecute && strings.HasPrefix(string(first.text), "OCI runtime exec failed") {
		// Docker writes its error into the output. Older ones say 126 for a missing
		// command too.
		code = max(code, said.ExecFailure(errors.New(string(first.text))))
	}
	return code, err
}

// head passes on what is written to it, and keeps the beginning.
type head struct {
	w    io.Writer
	text []byte
}

func (h *head) Write(p []byte) (int, error) {
	h.text = append(h.text, p[:min(len(p), 512-len(h.text))]...)
	return h.w.Write(p)
}
