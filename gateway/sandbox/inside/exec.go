package inside

import (
	"context"
	"fmt"
	"syscall"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/sandbox"
	"openshell-vm/gateway/sandbox/request"
)

// Exec returns a stream that runs a further command in a running sandbox.
func Exec(ctx context.Context, s *sandbox.Sandbox, p drivers.Process) (Stream, error) {
	execer, ok := s.Driver().(drivers.Execer)
	if !ok {
		return nil, cant(s, "run further commands")
	}
	if err := canExec(ctx, s, p); err != nil {
		return nil, err
	}
	return func(ctx context.Context, streams drivers.Streams) (int, error) {
		return execer.Exec(ctx, s.ID, p, streams)
	}, nil
}

// Launch starts a command in the running sandbox and leaves it alone.
func Launch(ctx context.Context, s *sandbox.Sandbox, p drivers.Process) (api.LaunchResult, error) {
	launcher, ok := s.Driver().(drivers.Launcher)
	if !ok {
		return api.LaunchResult{}, cant(s, "run commands that go on by themselves")
	}
	if err := canExec(ctx, s, p); err != nil {
		return api.LaunchResult{}, err
	}
	code, err := launcher.Launch(ctx, s.ID, p)
	if code != 0 && err != nil {
		return api.LaunchResult{ExitCode: code, Reason: explain.Line(err)}, nil
	}
	return api.LaunchResult{ExitCode: code}, err
}

// canExec refuses a further command that is none, or that has no running sandbox.
func canExec(ctx context.Context, s *sandbox.Sandbox, p drivers.Process) error {
	if len(p.Args) == 0 {
		return &api.Error{Code: api.CodeInvalid, Message: "no command is given", Hint: "openshell-vm exec NAME COMMAND [ARG…]"}
	}
	if err := request.CheckDir(p.Dir); err != nil {
		return err
	}
	if s.Snapshot().State != api.StateRunning {
		s.LookAt(ctx) // it may have been started since
		now := s.Snapshot()
		if now.State == api.StateUnknown {
			return &api.Error{Code: api.CodeDriver,
				Message: fmt.Sprintf("whether sandbox %s runs is not known: %s", now.Record.Name, now.Reason),
				Hint:    "openshell-vm doctor says how its engine is"}
		}
		if now.State != api.StateRunning {
			return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("sandbox %s is not running (%s)", now.Record.Name, now.State),
				Hint: "start it first: openshell-vm start " + now.Record.Name}
		}
	}
	return nil
}

// Signal sends a signal to the workload's main process.
func Signal(ctx context.Context, s *sandbox.Sandbox, signal int) error {
	signaler, ok := s.Driver().(drivers.Signaler)
	if !ok {
		return cant(s, "send signals")
	}
	if syscall.Signal(signal) == syscall.SIGKILL || syscall.Signal(signal) == syscall.SIGTERM {
		s.WasKilled()
	}
	return signaler.Signal(ctx, s.ID, signal)
}
