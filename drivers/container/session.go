package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/container/pump"
	"openshell-vm/drivers/container/said"
	"openshell-vm/internal/plainfile"
	"openshell-vm/internal/text"
)

func (d *Driver) Logs(ctx context.Context, id string, follow bool, stdout, stderr io.Writer) error {
	f, err := d.finder.find(ctx, id)
	if err != nil {
		return err
	}
	if f.StartedAt.IsZero() {
		return nil
	}
	out, err := d.engine.Logs(ctx, f.ID, follow, begun(f))
	if err != nil {
		return d.engine.Explain("read the container's log", err)
	}
	defer out.Close()
	return pump.Pump{Output: out, Terminal: hasTerminal(f), Streams: drivers.Streams{Stdout: stdout, Stderr: stderr}}.Run(ctx, out)
}

// moment is from when on an attached client gets the output.
type moment int

const (
	fromNow   moment = iota
	fromStart        // of a workload that runs
	fromBreak        // of an attempt that broke off before the start
)

// attempts is how often an engine may break off an attach before the start (seen of rootless
// Podman 4.3 on a busy machine).
const attempts = 3

// errBrokeOff is of an attach that ended before the workload began. Nothing of its output was lost.
var errBrokeOff = errors.New("broke off before it was started")

// Attach waits for the start of a sandbox that does not run, also after an earlier run. If the
// engine breaks off before that, it attaches again, unless some input may be lost.
func (d *Driver) Attach(ctx context.Context, id string, replay bool, s drivers.Streams) (code int, err error) {
	failed, done := d.gates.await(id)
	defer done()
	from := fromNow
	if replay {
		from = fromStart
	}
	for range attempts {
		code, err = client{d, id, failed, s}.attach(ctx, from)
		if !errors.Is(err, errBrokeOff) || s.Stdin != nil {
			break
		}
		from = fromBreak
	}
	return code, err
}

// client is who attaches to a sandbox.
type client struct {
	d      *Driver
	id     string
	failed <-chan startFailure // gets the failure of a start
	s      drivers.Streams
}

// attach attaches once.
func (c client) attach(ctx context.Context, from moment) (int, error) {
	d, id, s := c.d, c.id, c.s
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f, p, err := d.enter(ctx, id, from, s)
	switch {
	case err != nil && f.ID == "":
		return 0, err
	case err != nil && said.ExecFailure(err) != 0:
		u := startFailure{said.ExecFailure(err), err, time.Now()}
		d.gates.fail(id, u)
		return u.end(s)
	case err != nil:
		return 0, d.engine.Explain("attach to the container", err)
	}
	exit := d.exitOf(ctx, f)
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx, p.Closers()...) }()
	select {
	case u := <-c.failed:
		cancel()
		<-ended
		return u.end(s)
	case err := <-ended:
		if pump.IsReset(err) {
			return d.afterReset(ctx, id, exit, s, err)
		} else if err != nil {
			return 0, err
		}
	}
	return d.exitCode(ctx, id, exit, s)
}

// resetGrace bounds the wait for the workload's end after a reset.
const resetGrace = 10 * time.Second

// afterReset gives the exit code of a workload that ended with unread input. If the
// workload goes on, the connection was lost for another reason.
func (d *Driver) afterReset(ctx context.Context, id string, exit <-chan drivers.Status, s drivers.Streams, reset error) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, resetGrace)
	defer cancel()
	code, err := d.exitCode(ctx, id, exit, s)
	if ctx.Err() != nil {
		return 0, reset
	}
	return code, err
}

// enter connects while no start is under way.
func (d *Driver) enter(ctx context.Context, id string, from moment, s drivers.Streams) (Found, pump.Pump, error) {
	leave, err := d.gates.enter(ctx, id)
	if err != nil {
		return Found{}, pump.Pump{}, err
	}
	defer leave()
	f, err := d.finder.find(ctx, id)
	if err != nil {
		return Found{}, pump.Pump{}, err
	}
	replay := from == fromStart && f.State == drivers.Running || from == fromBreak && f.State != drivers.Created
	p, err := d.connect(ctx, f, replay, s)
	return f, p, err
}

// end is what an attached client is told. A command that can't be run is the workload's
// failure: the client gets the reason on its standard error, and an exit code.
func (u startFailure) end(s drivers.Streams) (int, error) {
	if u.code == 0 {
		return 0, u.err
	}
	tellWhy(s, said.FirstLine(u.err))
	return u.code, nil
}

func tellWhy(s drivers.Streams, reason string) {
	fmt.Fprintf(pump.OrDiscard(s.Stderr), "openshell-vm: %s\n", text.Line(reason))
}

// connect prepares the streams. A replay reads the output from the log, which has all
// of it, and connects only the input. The engines' own replay would begin with the
// first start.
func (d *Driver) connect(ctx context.Context, f Found, replay bool, s drivers.Streams) (pump.Pump, error) {
	p := pump.Pump{
		Terminal: hasTerminal(f), Streams: s,
		Resize: func(size drivers.Size) error { return d.engine.Resize(ctx, f.ID, size) },
		Signal: func(sig int) { _ = d.engine.Kill(ctx, f.ID, sig) },
	}
	if replay {
		out, err := d.engine.Logs(ctx, f.ID, true, begun(f))
		if err != nil {
			return p, err
		}
		p.Output = out
		if s.Stdin == nil {
			return p, nil
		}
		if p.Input, err = d.engine.Attach(ctx, f.ID, true, false); err != nil {
			out.Close()
		}
		return p, err
	}
	conn, err := d.engine.Attach(ctx, f.ID, s.Stdin != nil, true)
	p.Input, p.Output = conn, conn
	return p, err
}

// exitOf asks for the exit code in advance. So it isn't lost if the container is
// removed as soon as it ends.
func (d *Driver) exitOf(ctx context.Context, f Found) <-chan drivers.Status {
	c := make(chan drivers.Status, 1)
	go func() {
		if code, err := d.engine.Wait(ctx, f.ID, f.State != drivers.Running); err == nil {
			c <- drivers.Status{State: drivers.Exited, ExitCode: code}
		}
	}()
	return c
}

// exitCode gives a sandbox's exit code once its output has ended. It tells the client
// why a command can't be run: the output may end before Start tells.
func (d *Driver) exitCode(ctx context.Context, id string, ahead <-chan drivers.Status, client drivers.Streams) (int, error) {
	s, err := d.Wait(ctx, id)
	if errors.Is(err, drivers.ErrNotFound) {
		select {
		case s = <-ahead:
			err = nil
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
	switch {
	case err != nil:
		return 0, err
	case s.State == drivers.Exited && s.Reason != "" && (s.ExitCode == said.CannotExecute || s.ExitCode == said.NotFound):
		tellWhy(client, s.Reason)
		fallthrough
	case s.State == drivers.Exited:
		return s.ExitCode, nil
	}
	return 0, &drivers.Error{Op: "attach to the container", Err: fmt.Errorf("%s %w", d.Name(), errBrokeOff),
		Hint: "look whether the engine runs"}
}

func hasTerminal(f Found) bool {
	spec := specOf(f)
	return spec != nil && spec.Process.Terminal
}

// maxStarted bounds the file, in bytes: it holds one time.
const maxStarted = 1 << 10

// noteStart writes down when a start begins. The engine's own time is later: the
// workload may have written before it.
func noteStart(spec drivers.Spec) error {
	f, err := plainfile.Open(filepath.Join(spec.Dir, startedFile), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(time.Now().Format(time.RFC3339Nano))
	return errors.Join(err, f.Close())
}

// begun is when the output since the last start begins.
func begun(f Found) time.Time {
	if spec := specOf(f); spec != nil {
		data, err := plainfile.Read(filepath.Join(spec.Dir, startedFile), maxStarted)
		if err == nil {
			if t, err := time.Parse(time.RFC3339Nano, string(data)); err == nil && t.Before(f.StartedAt) {
				return t
			}
		}
	}
	return f.StartedAt
}
