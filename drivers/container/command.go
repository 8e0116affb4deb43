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

// command is one further command in a container.
type command struct {
	engine Engine
	found  Found  // the container
	exec   string // the engine's own id of the command
}

// end waits until the engine knows that the command has ended, and gives its exit
// code. The output has ended before.
func (c command) end(ctx context.Context) (int, error) {
	var state ExecState
	err := poll(ctx, 10*time.Millisecond, func() (_ bool, err error) {
		state, err = c.engine.ExecInspect(ctx, c.exec)
		if err != nil {
			return false, c.engine.Explain("ask how the command ended", err)
		}
		return !state.Running, nil
	})
	if err != nil {
		return 0, err
	}
	return state.ExitCode, nil
}

// killDeadline bounds how long the engine may take to kill a command.
const killDeadline = 30 * time.Second

// kill ends the command of a client that is gone. ctx may have ended with the client.
func (c command) kill(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killDeadline)
	defer cancel()
	if err := c.signal(ctx, int(unix.SIGKILL)); err != nil {
		return err
	}
	// The engine has to learn of it, or it can't remove the container later.
	ctx, cancel = context.WithTimeout(ctx, knownDeadline)
	defer cancel()
	_, _ = c.end(ctx)
	return nil
}

// knownDeadline bounds the wait until the engine knows that a killed command has ended.
const knownDeadline = 5 * time.Second

// signal sends the command a signal. The engines have no request for that. It goes
// to the process itself if this user may do so, else a kill runs in the container.
func (c command) signal(ctx context.Context, sig int) error {
	state, err := c.started(ctx)
	if err != nil || !state.Running {
		return err
	}
	if spec := specOf(c.found); spec != nil && look(state.PID, spec.Auth).known {
		return c.signalProcess(ctx, state.PID, sig)
	}
	inner, err := innerPID(state.PID)
	if err != nil {
		return err
	}
	kill, err := c.engine.ExecCreate(ctx, c.found.ID, drivers.Process{
		Args: []string{"kill", "-" + strconv.Itoa(sig), strconv.Itoa(inner)}, User: "0",
	}, false)
	if err != nil {
		return err
	}
	conn, err := c.engine.ExecAttach(ctx, kill, drivers.Process{})
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = io.Copy(io.Discard, conn)
	return err
}

// started waits until the engine knows the process of a command that runs. Output
// may come before it does.
func (c command) started(ctx context.Context) (state ExecState, err error) {
	bounded, cancel := context.WithTimeout(ctx, startedDeadline)
	defer cancel()
	err = poll(bounded, 20*time.Millisecond, func() (_ bool, err error) {
		state, err = c.engine.ExecInspect(ctx, c.exec)
		return !state.Running || state.PID > 0, err
	})
	if bounded.Err() != nil && ctx.Err() == nil && err != nil {
		return ExecState{}, errors.New("the engine does not tell the command's process")
	}
	return state, err
}

// startedDeadline bounds how long an engine is asked for a command's process.
const startedDeadline = 2 * time.Second

// signalProcess opens the process first. Then it makes sure that pid is still the
// command's.
func (c command) signalProcess(ctx context.Context, pid, sig int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	} else if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	state, err := c.engine.ExecInspect(ctx, c.exec)
	if err != nil || !state.Running || state.PID != pid {
		return err
	}
	if unix.Signal(sig) == unix.SIGKILL && unix.PidfdSendSignal(fd, unix.SIGKILL, nil, wholeGroup) == nil {
		return nil // what it has started is killed with it, as in a VM
	}
	err = unix.PidfdSendSignal(fd, unix.Signal(sig), nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return os.NewSyscallError("pidfd_send_signal", err)
}

// wholeGroup is PIDFD_SIGNAL_PROCESS_GROUP, of Linux 6.9. Every exec's process leads a
// group of its own.
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
