package sandbox

import (
	"context"
	"fmt"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/explain"
)

// Stream runs one client's streams to their end. When its context ends, an attachment is
// detached and a command is killed.
type Stream func(ctx context.Context, s drivers.Streams) (exitCode int, err error)

// Logs gives what the workload wrote so far; with follow, what it writes from then on.
func (s *Sandbox) Logs(follow bool) (Stream, error) {
	logger, ok := s.engine.driver.(drivers.Logger)
	if !ok {
		return nil, cant(s, "give logs")
	}
	return func(ctx context.Context, streams drivers.Streams) (int, error) {
		return 0, logger.Logs(ctx, s.ID, follow, streams.Stdout, streams.Stderr)
	}, nil
}

// Attach connects to the workload. A client that attaches before the start must lose
// nothing, and its start may overtake the attachment: the driver then gives what was
// missed, as it does with replay. stdin says whether the workload reads anything.
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

// Exec runs a further command in a sandbox that runs.
func (s *Sandbox) Exec(ctx context.Context, p drivers.Process) (Stream, error) {
	execer, ok := s.engine.driver.(drivers.Execer)
	if !ok {
		return nil, cant(s, "run further commands")
	}
	if len(p.Args) == 0 {
		return nil, &api.Error{Code: api.CodeInvalid, Message: "no command is given", Hint: "openshell-vm exec NAME COMMAND [ARG…]"}
	}
	if err := checkDir(p.Dir); err != nil {
		return nil, err
	}
	if s.Snapshot().State != api.StateRunning {
		s.LookAt(ctx) // it may have been started since
		if now := s.Snapshot(); now.State != api.StateRunning {
			return nil, &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("sandbox %s is not running (%s)", now.Record.Name, now.State),
				Hint: "start it first: openshell-vm start " + now.Record.Name}
		}
	}
	return func(ctx context.Context, streams drivers.Streams) (int, error) {
		return execer.Exec(ctx, s.ID, p, streams)
	}, nil
}

// Signal sends a signal to the workload's main process.
func (s *Sandbox) Signal(ctx context.Context, signal int) error {
	signaler, ok := s.engine.driver.(drivers.Signaler)
	if !ok {
		return cant(s, "send signals")
	}
	return signaler.Signal(ctx, s.ID, signal)
}

// cant says that a sandbox's driver has no way to do it.
func cant(s *Sandbox, what string) error { return explain.NotSupported(s.engine.driver.Name(), what) }
