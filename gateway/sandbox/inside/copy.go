package inside

import (
	"context"
	"errors"
	"fmt"
	"path"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/sandbox"
)

// StatPath describes what a path names in the sandbox; nil if it names nothing.
func StatPath(ctx context.Context, s *sandbox.Sandbox, file string) (*api.PathStat, error) {
	copier, err := copier(ctx, s, file)
	if err != nil {
		return nil, err
	}
	stat, err := copier.StatPath(ctx, s.ID, file)
	if errors.Is(err, drivers.ErrNoPath) {
		return nil, nil
	}
	return &stat, notCopied(s, err)
}

// CopyOut returns a stream whose output is an archive of what a path names. The error is one
// of the request if there is nothing to copy.
func CopyOut(ctx context.Context, s *sandbox.Sandbox, file string) (Stream, error) {
	copier, err := copier(ctx, s, file)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, streams drivers.Streams) (int, error) {
		return 0, noPath(s, file, copier.CopyOut(ctx, s.ID, file, streams.Stdout))
	}, nil
}

// CopyIn returns a stream whose input is an archive, which is unpacked into a directory.
func CopyIn(ctx context.Context, s *sandbox.Sandbox, dir string) (Stream, error) {
	copier, err := copier(ctx, s, dir)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, streams drivers.Streams) (int, error) {
		return 0, noPath(s, dir, copier.CopyIn(ctx, s.ID, dir, streams.Stdin))
	}, nil
}

func copier(ctx context.Context, s *sandbox.Sandbox, file string) (drivers.Copier, error) {
	copier, ok := s.Driver().(drivers.Copier)
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
func noPath(s *sandbox.Sandbox, file string, err error) error {
	if !errors.Is(err, drivers.ErrNoPath) {
		return notCopied(s, err)
	}
	return &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("could not find the file %s in sandbox %s", file, s.Rec().Name),
		Hint: fmt.Sprintf("openshell-vm exec %s ls %s shows what is there", s.Rec().Name, path.Dir(path.Clean(file)))}
}

// notCopied explains that files can be copied only while the sandbox runs.
func notCopied(s *sandbox.Sandbox, err error) error {
	if !errors.Is(err, drivers.ErrNotRunning) {
		return err
	}
	return &api.Error{Code: api.CodeConflict,
		Message: fmt.Sprintf("sandbox %s is not running, and the files of a VM can be copied only while it runs", s.Rec().Name),
		Hint:    "start it first: openshell-vm start " + s.Rec().Name}
}
