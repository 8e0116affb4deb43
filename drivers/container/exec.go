package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
	"openshell-vm/internal/procfs"
)

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
	var state ExecState
	err := poll(ctx, 10*time.Millisecond, func() (_ bool, err error) {
		state, err = d.engine.ExecInspect(ctx, exec)
		if err != nil {
			return false, d.engine.Explain("ask how the command ended", err)
		}
		return !state.Running, nil
	})
	if err != nil {
		return 0, err
	}
	return state.ExitCode, nil
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
func (d *Driver) execStarted(ctx context.Context, exec string) (state ExecState, err error) {
	bounded, cancel := context.WithTimeout(ctx, startedDeadline)
	defer cancel()
	err = poll(bounded, 20*time.Millisecond, func() (_ bool, err error) {
		state, err = d.engine.ExecInspect(ctx, exec)
		return !state.Running || state.PID > 0, err
	})
	if bounded.Err() != nil && ctx.Err() == nil && err != nil {
		return ExecState{}, errors.New("the engine does not tell the command's process")
	}
	return state, err
}

// startedDeadline bounds how long an engine is asked for a command's process.
const startedDeadline = 2 * time.Second

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
