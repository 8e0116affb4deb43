package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
)

// landmark remembers where the state directory was when a supervisor began.
type landmark struct {
	path string
	at   state.Inode
	used bool // a gateway was seen to have made it its own
}

// whereabouts says what has become of a state directory.
type whereabouts int

const (
	there   whereabouts = iota // it is there, or was never seen
	away                       // its file system is not mounted where it was
	deleted                    // it was deleted, or replaced by an empty directory
)

// newLandmark makes the state directory if there is none yet. If it can't be made, or is
// refused, the gateway reports that itself.
func newLandmark() *landmark {
	path, err := api.StateDir()
	if err != nil || state.Check() != nil {
		return &landmark{}
	}
	at, _ := state.InodeOf(path)
	return &landmark{path: path, at: at}
}

// find finds out what has become of the state directory.
func (l *landmark) find() whereabouts {
	if l.at == (state.Inode{}) {
		return there
	}
	_, err := os.Lstat(filepath.Join(l.path, api.IdentityFile))
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		l.used = l.used || err == nil
		return there
	}
	dir, now := l.path, state.Inode{}
	for now, err = state.InodeOf(dir); errors.Is(err, fs.ErrNotExist) && dir != "/"; now, err = state.InodeOf(dir) {
		dir = filepath.Dir(dir)
	}
	switch {
	case err != nil || now == l.at && !l.used: // no gateway has got as far as making anything in it
		return there
	case now.Device != l.at.Device:
		return away
	}
	return deleted
}

// await waits until the next try is due and the state directory's file system is mounted.
// It fails if the state directory was deleted, or ctx ends.
func (l *landmark) await(ctx context.Context, delay *restartDelay) error {
	for {
		if l.find() == deleted {
			err := fmt.Errorf("%w: %s", state.ErrDeleted, l.path)
			fmt.Fprintln(os.Stderr, "openshell-gateway: the supervisor ends:", err)
			return err
		}
		if err := delay.wait(ctx); err != nil {
			return err
		}
		if l.find() == there {
			return nil
		}
	}
}
