package sandbox

import (
	"context"
	"fmt"
	"syscall"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/explain"
)

// Stream runs one client's streams to their end. When its context ends, an attachment is
// detached and a command is killed.
type Stream func(ctx context.Context, s drivers.Streams) (exitCode int, err error)

// Logs returns a stream of what the workload has written. With follow it goes on with what
// the workload writes from then on.
func (s *Sandbox) Logs(follow bool) (Stream, error) {
	logger, ok := s.engine.driver.(drivers.Logger)
	if !ok {
		return nil, cant(s, "give logs")
	}
	return func(ctx context.Context, streams drivers.Streams) (int, error) {
		return 0, logger.Logs(ctx, s.ID, follow, streams.Stdout, streams.Stderr)
	}, nil
}

// Attach returns a stream that is connected to the workload. With replay it begins with the
// output since the start. A client that attaches before the start must lose nothing, but
// the start may come before the attachment. So unless the sandbox runs now, replay is set.
// stdin says whether the workload's standard input is open.
func (s *Sandbox) Attach(replay bool) (run Stream, stdin bool, err error) {
	attacher, ok := s.engine.driver.(drivers.Attacher)
	if !ok {
		return nil, false, cant(s, "attach")
	}
	if err := s.Present(); err != nil {
		return nil, false, err
	}
	replay = replay || s.Snapshot().State != api.StateRunning
	return func(ctx context.Context, streams drivers.Streams) (int, error) {
		return attacher.Attach(ctx, s.ID, replay, streams)
	}, s.Rec().Request.Stdin, nil
}

// Exec returns a stream that runs a further command in a running sandbox.
func (s *Sandbox) Exec(ctx context.Context, p drivers.Process) (Stream, error) {
	execer, ok := s.engine.driver.(drivers.Execer)
	if !ok {
		return nil, cant(s, "run further commands")
	}
	if err := s.canExec(ctx, p); err != nil {
		return nil, err
	}
	return func(ctx context.Context, streams drivers.Streams) (int, error) {
		return execer.Exec(ctx, s.ID, p, streams)
	}, nil
}

// canExec refuses a further command that is none, or that has no running sandbox.
func (s *Sandbox) canExec(ctx context.Context, p drivers.Process) error {
	if len(p.Args) == 0 {
		return &api.Error{Code: api.CodeInvalid, Message: "no command is given", Hint: "openshell-vm exec NAME COMMAND [ARG…]"}
	}
	if err := checkDir(p.Dir); err != nil {
		return err
	}
	if s.Snapshot().State != api.StateRunning {
		s.LookAt(ctx) // it may have been started since
		now := s.Snapshot()
		if now.State == api.StateUnknown {
			return &api.Error{Code: api.CodeDriver, Message: fmt.Sprintf("whether sandbox %s runs is not known: %s", now.Record.Name, now.Reason),
				Hint: "openshell-vm doctor says how its engine is"}
		}
		if now.State != api.StateRunning {
			return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("sandbox %s is not running (%s)", now.Record.Name, now.State),
				Hint: "start it first: openshell-vm start " + now.Record.Name}
		}
	}
	return nil
}

// Signal sends a signal to the workload's main process.
func (s *Sandbox) Signal(ctx context.Context, signal int) error {
	signaler, ok := s.engine.driver.(drivers.Signaler)
	if !ok {
		return cant(s, "send signals")
	}
	if syscall.Signal(signal) == syscall.SIGKILL || syscall.Signal(signal) == syscall.SIGTERM {
		s.Set(func() { s.killed = true })
	}
	return signaler.Signal(ctx, s.ID, signal)
}

// cant is the error for what a sandbox's driver does not support.
func cant(s *Sandbox, what string) error { return explain.NotSupported(s.engine.driver.Name(), what) }
