package sandbox

import (
	"context"
	"errors"
	"fmt"
	"path"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/explain"
)

// StatPath describes what a path names in the sandbox; nil if it names nothing.
func (s *Sandbox) StatPath(ctx context.Context, file string) (*api.PathStat, error) {
	copier, err := s.copier(ctx, file)
	if err != nil {
		return nil, err
	}
	stat, err := copier.StatPath(ctx, s.ID, file)
	if errors.Is(err, drivers.ErrNoPath) {
		return nil, nil
	}
	return &stat, s.notCopied(err)
}

// CopyOut returns a stream whose output is an archive of what a path names. The error is one
// of the request if there is nothing to copy.
func (s *Sandbox) CopyOut(ctx context.Context, file string) (Stream, error) {
	copier, err := s.copier(ctx, file)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, streams drivers.Streams) (int, error) {
		return 0, s.noPath(file, copier.CopyOut(ctx, s.ID, file, streams.Stdout))
	}, nil
}

// CopyIn returns a stream whose input is an archive, which is unpacked into a directory.
func (s *Sandbox) CopyIn(ctx context.Context, dir string) (Stream, error) {
	copier, err := s.copier(ctx, dir)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, streams drivers.Streams) (int, error) {
		return 0, s.noPath(dir, copier.CopyIn(ctx, s.ID, dir, streams.Stdin))
	}, nil
}

func (s *Sandbox) copier(ctx context.Context, file string) (drivers.Copier, error) {
	copier, ok := s.engine.driver.(drivers.Copier)
	if !ok {
		return nil, cant(s, "copy files")
	}
	if !path.IsAbs(file) || !api.ValidPath(file) {
		return nil, &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("%q is no absolute path", file),
			Hint: "give a path from the sandbox's root, of at most 4095 bytes"}
	}
	return copier, s.Present()
}

// noPath explains that a path names nothing, in docker's words.
func (s *Sandbox) noPath(file string, err error) error {
	if !errors.Is(err, drivers.ErrNoPath) {
		return s.notCopied(err)
	}
	return &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("could not find the file %s in sandbox %s", file, s.Rec().Name),
		Hint: fmt.Sprintf("openshell-vm exec %s ls %s shows what is there", s.Rec().Name, path.Dir(path.Clean(file)))}
}

// notCopied explains that files can be copied only while the sandbox runs.
func (s *Sandbox) notCopied(err error) error {
	if !errors.Is(err, drivers.ErrNotRunning) {
		return err
	}
	return &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("sandbox %s is not running, and the files of a VM can be copied only while it runs", s.Rec().Name),
		Hint: "start it first: openshell-vm start " + s.Rec().Name}
}

// Launch starts a command in the running sandbox and leaves it alone.
func (s *Sandbox) Launch(ctx context.Context, p drivers.Process) (api.LaunchResult, error) {
	launcher, ok := s.engine.driver.(drivers.Launcher)
	if !ok {
		return api.LaunchResult{}, cant(s, "run commands that go on by themselves")
	}
	if err := s.canExec(ctx, p); err != nil {
		return api.LaunchResult{}, err
	}
	code, err := launcher.Launch(ctx, s.ID, p)
	if code != 0 && err != nil {
		return api.LaunchResult{ExitCode: code, Reason: explain.Line(err)}, nil
	}
	return api.LaunchResult{ExitCode: code}, err
}
