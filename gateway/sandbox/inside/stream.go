// Package inside is what clients do with a sandbox that is there: its streams, further
// commands, its files, signals, and what it uses. It changes neither what the sandbox's user
// wants of it nor its token.
package inside

import (
	"context"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/sandbox"
)

// Stream runs one client's streams to their end. When its context ends, an attachment is
// detached and a command is killed.
type Stream func(ctx context.Context, s drivers.Streams) (exitCode int, err error)

// Logs returns a stream of what the workload has written. With follow it goes on with what
// the workload writes from then on.
func Logs(s *sandbox.Sandbox, follow bool) (Stream, error) {
	logger, ok := s.Driver().(drivers.Logger)
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
func Attach(s *sandbox.Sandbox, replay bool) (run Stream, stdin bool, err error) {
	attacher, ok := s.Driver().(drivers.Attacher)
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

// cant is the error for what a sandbox's driver does not support.
func cant(s *sandbox.Sandbox, what string) error {
	return explain.NotSupported(s.Driver().Name(), what)
}
