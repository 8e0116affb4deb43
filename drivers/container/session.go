package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
	"openshell-vm/internal/plainfile"
	"openshell-vm/internal/procfs"
	"openshell-vm/internal/text"
)

func (d *Driver) Logs(ctx context.Context, id string, follow bool, stdout, stderr io.Writer) error {
	f, err := d.find(ctx, id)
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
	return pump{output: out, terminal: hasTerminal(f), streams: drivers.Streams{Stdout: stdout, Stderr: stderr}}.run(ctx, out)
}

// Attach waits for a sandbox that does not run, also for one that has run before.
func (d *Driver) Attach(ctx context.Context, id string, replay bool, s drivers.Streams) (int, error) {
	failed, done := d.failed.Await(id)
	defer done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f, p, err := d.enter(ctx, id, replay, s)
	switch {
	case err != nil && f.ID == "":
		return 0, err
	case err != nil && execFailure(err) != 0:
		u := unstarted{execFailure(err), err, time.Now()}
		d.cannotRun(id, u)
		return u.end(s)
	case err != nil:
		return 0, d.engine.Explain("attach to the container", err)
	}
	exit := d.exitOf(ctx, f)
	ended := make(chan error, 1)
	go func() { ended <- p.run(ctx, p.closers()...) }()
	select {
	case u := <-failed:
		cancel()
		<-ended
		return u.end(s)
	case err := <-ended:
		if isReset(err) {
			return d.afterReset(ctx, id, exit, s, err)
		} else if err != nil {
			return 0, err
		}
	}
	return d.exitCode(ctx, id, exit, s)
}

// resetGrace bounds how long after a reset the workload's end is waited for.
const resetGrace = 10 * time.Second

// afterReset gives the exit code of a workload that ended with unread input. One that
// goes on has lost its connection for another reason.
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
func (d *Driver) enter(ctx context.Context, id string, replay bool, s drivers.Streams) (Found, pump, error) {
	door := d.door(id)
	door.Lock()
	defer door.Unlock()
	f, err := d.find(ctx, id)
	if err != nil {
		return Found{}, pump{}, err
	}
	p, err := d.connect(ctx, f, replay && f.State == drivers.Running, s)
	return f, p, err
}

// end is what an attached client is told: a command that can't be run is the
// workload's failure, and why stands on its standard error.
func (u unstarted) end(s drivers.Streams) (int, error) {
	if u.code == 0 {
		return 0, u.err
	}
	tellWhy(s, firstLine(u.err))
	return u.code, nil
}

func tellWhy(s drivers.Streams, reason string) {
	fmt.Fprintf(orDiscard(s.Stderr), "openshell-vm: %s\n", text.Line(reason))
}

// connect prepares the streams. A replay reads the output from the log, which
// has all of it, and connects the input only: the engines' own replay would begin
// with the first start.
func (d *Driver) connect(ctx context.Context, f Found, replay bool, s drivers.Streams) (pump, error) {
	p := pump{
		terminal: hasTerminal(f), streams: s,
		resize: func(size drivers.Size) error { return d.engine.Resize(ctx, f.ID, size) },
		signal: func(sig int) { _ = d.engine.Kill(ctx, f.ID, sig) },
	}
	if replay {
		out, err := d.engine.Logs(ctx, f.ID, true, begun(f))
		if err != nil {
			return p, err
		}
		p.output = out
		if s.Stdin == nil {
			return p, nil
		}
		if p.input, err = d.engine.Attach(ctx, f.ID, true, false); err != nil {
			out.Close()
		}
		return p, err
	}
	conn, err := d.engine.Attach(ctx, f.ID, s.Stdin != nil, true)
	p.input, p.output = conn, conn
	return p, err
}

// explainExec is for a command that was not begun.
func (d *Driver) explainExec(err error) error {
	const op = "run a command in the container"
	if errors.Is(err, drivers.ErrNotRunning) || errors.Is(err, drivers.ErrNotFound) {
		return err
	}
	if known := explainProcess(op, err); known != nil {
		return known
	}
	return d.engine.Explain(op, err)
}

// closers are the connections that p reads from and writes to.
func (p pump) closers() (all []io.Closer) {
	if c, ok := p.output.(io.Closer); ok {
		all = append(all, c)
	}
	if p.input != nil && any(p.input) != any(p.output) {
		all = append(all, p.input)
	}
	return all
}

// exitOf asks for the exit code ahead, so that it isn't lost when the
// container is removed as soon as it ends.
func (d *Driver) exitOf(ctx context.Context, f Found) <-chan drivers.Status {
	c := make(chan drivers.Status, 1)
	go func() {
		if code, err := d.engine.Wait(ctx, f.ID, f.State != drivers.Running); err == nil {
			c <- drivers.Status{State: drivers.Exited, ExitCode: code}
		}
	}()
	return c
}

// exitCode gives a sandbox's exit code once its output has ended, and tells the
// client of a command that can't be run: the output may end before Start tells.
func (d *Driver) exitCode(ctx context.Context, id string, ahead <-chan drivers.Status, client drivers.Streams) (int, error) {
	s, err := d.Wait(ctx, id)
	if errors.Is(err, drivers.ErrNotFound) {
		select {
		case s = <-ahead:
			err = nil
		case <-time.After(time.Second):
		}
	}
	switch {
	case err != nil:
		return 0, err
	case s.State == drivers.Exited && s.Reason != "" && (s.ExitCode == cannotExecute || s.ExitCode == notFound):
		tellWhy(client, s.Reason)
		fallthrough
	case s.State == drivers.Exited:
		return s.ExitCode, nil
	}
	return 0, &drivers.Error{Op: "attach to the container", Err: fmt.Errorf("%s broke off before it was started", d.Name()),
		Hint: "look whether the engine runs"}
}

func (d *Driver) Exec(ctx context.Context, id string, p drivers.Process, s drivers.Streams) (int, error) {
	f, err := d.find(ctx, id)
	if err != nil {
		return 0, err
	}
	if f.State != drivers.Running {
		return 0, drivers.ErrNotRunning
	}
	exec, err := d.engine.ExecCreate(ctx, f.ID, p, s.Stdin != nil)
	if err != nil {
		return 0, d.explainExec(d.orEnded(ctx, f.ID, err))
	}
	first := &head{w: orDiscard(s.Stdout)}
	s.Stdout = first
	conn, err := d.engine.ExecAttach(ctx, exec, p)
	if ctx.Err() != nil && err != nil {
		return 0, errors.Join(ctx.Err(), d.killExec(ctx, f, exec)) // it may have begun
	} else if err != nil {
		if code := execFailure(err); code != 0 {
			return code, nil
		}
		return 0, d.explainExec(d.orEnded(ctx, f.ID, err))
	}
	var killed error
	err = pump{
		output: conn, input: conn, terminal: p.Terminal, streams: s,
		resize:  func(size drivers.Size) error { return d.engine.ExecResize(ctx, exec, size) },
		signal:  func(sig int) { _ = d.signalExec(ctx, f, exec, sig) },
		abandon: func() { killed = d.killExec(ctx, f, exec) },
	}.run(ctx, conn)
	if ctx.Err() != nil {
		return 0, errors.Join(ctx.Err(), killed)
	}
	if err != nil && !isReset(err) {
		return 0, d.engine.Explain("read from the command", err)
	}
	code, err := d.execEnd(ctx, exec)
	if code == cannotExecute && strings.HasPrefix(string(first.text), "OCI runtime exec failed") {
		// Docker writes its error where the output goes, and older ones say 126
		// for a missing command too.
		code = max(code, execFailure(errors.New(string(first.text))))
	}
	return code, err
}

// head passes on what is written and keeps the beginning.
type head struct {
	w    io.Writer
	text []byte
}

func (h *head) Write(p []byte) (int, error) {
	h.text = append(h.text, p[:min(len(p), 512-len(h.text))]...)
	return h.w.Write(p)
}

// execEnd waits until the engine knows that the command, whose output has
// ended, has ended too.
func (d *Driver) execEnd(ctx context.Context, exec string) (int, error) {
	for {
		state, err := d.engine.ExecInspect(ctx, exec)
		if err != nil {
			return 0, d.engine.Explain("ask how the command ended", err)
		}
		if !state.Running {
			return state.ExitCode, nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// killDeadline bounds how long an engine may take to help with the end of a command
// whose client is gone.
const killDeadline = 30 * time.Second

// killExec ends the command of a client that is gone, which may have ended ctx.
func (d *Driver) killExec(ctx context.Context, f Found, exec string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killDeadline)
	defer cancel()
	if err := d.signalExec(ctx, f, exec, int(unix.SIGKILL)); err != nil {
		return err
	}
	// The engine has to learn of it, or it can't remove the container later.
	ctx, cancel = context.WithTimeout(ctx, knownDeadline)
	defer cancel()
	_, _ = d.execEnd(ctx, exec)
	return nil
}

// knownDeadline bounds how long an engine is asked whether it has seen the end of a
// command that was killed.
const knownDeadline = 5 * time.Second

// signalExec sends a signal to an exec's command, for which the engines have
// no request: to the process itself where this user may, else by a kill that
// runs in the container.
func (d *Driver) signalExec(ctx context.Context, f Found, exec string, sig int) error {
	state, err := d.execStarted(ctx, exec)
	if err != nil || !state.Running {
		return err
	}
	if spec := specOf(f); spec != nil && look(state.PID, spec.Auth).known {
		return d.signalProcess(ctx, exec, state.PID, sig)
	}
	inner, err := innerPID(state.PID)
	if err != nil {
		return err
	}
	kill, err := d.engine.ExecCreate(ctx, f.ID, drivers.Process{
		Args: []string{"kill", "-" + strconv.Itoa(sig), strconv.Itoa(inner)}, User: "0",
	}, false)
	if err != nil {
		return err
	}
	conn, err := d.engine.ExecAttach(ctx, kill, drivers.Process{})
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = io.Copy(io.Discard, conn)
	return err
}

// execStarted waits until the engine knows the process of a command that runs:
// its first output may come before.
func (d *Driver) execStarted(ctx context.Context, exec string) (ExecState, error) {
	for range 100 {
		state, err := d.engine.ExecInspect(ctx, exec)
		if err != nil || !state.Running || state.PID > 0 {
			return state, err
		}
		time.Sleep(20 * time.Millisecond)
	}
	return ExecState{}, errors.New("the engine does not tell the command's process")
}

// signalProcess holds on to the process before it makes sure that pid is
// still the command's.
func (d *Driver) signalProcess(ctx context.Context, exec string, pid, sig int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	} else if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	state, err := d.engine.ExecInspect(ctx, exec)
	if err != nil || !state.Running || state.PID != pid {
		return err
	}
	if unix.Signal(sig) == unix.SIGKILL && unix.PidfdSendSignal(fd, unix.SIGKILL, nil, wholeGroup) == nil {
		return nil // with what it has started, as in a VM
	}
	err = unix.PidfdSendSignal(fd, unix.Signal(sig), nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return os.NewSyscallError("pidfd_send_signal", err)
}

// wholeGroup is PIDFD_SIGNAL_PROCESS_GROUP, of Linux 6.9: the process is its group's
// leader, as every exec's is.
const wholeGroup = 1 << 2

// innerPID is the number that process pid has in its own pid namespace.
func innerPID(pid int) (int, error) {
	numbers, err := procfs.Field(procfs.Path(pid, "status"), "NSpid")
	if err != nil {
		return 0, err
	}
	f := strings.Fields(numbers)
	if len(f) < 2 {
		return 0, fmt.Errorf("process %d has no pid namespace of its own", pid)
	}
	return strconv.Atoi(f[len(f)-1])
}

func hasTerminal(f Found) bool {
	spec := specOf(f)
	return spec != nil && spec.Process.Terminal
}

// maxStarted bounds the file, in bytes: it holds one time.
const maxStarted = 1 << 10

// noteStart writes down when a start begins: an engine notes it only when the
// workload may have written already.
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
