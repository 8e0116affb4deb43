package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
	"openshell-vm/internal/mounts"
)

// verifier looks at what a container that was just started shows of this host.
type verifier struct {
	engine Engine
	finder *finder
}

// verify looks at a container that runs. Each of its shares must be this host's directory, must
// be read-only, and must be one that can be read. The user's directories must be those
// that were judged. It looks through /proc if it may, else it asks the engine.
func (v verifier) verify(ctx context.Context, spec drivers.Spec, judged map[string]drivers.Directory) error {
	f, err := v.finder.find(ctx, spec.ID)
	if err != nil {
		return err
	}
	byProc := true
	for _, m := range spec.AllShares() {
		known, err := v.verifyShare(ctx, f, m)
		if err != nil {
			return err
		}
		byProc = byProc && known
	}
	for _, m := range shownOf(spec) {
		if !v.holds(ctx, f, m, judged[m.target], byProc) {
			return &drivers.Error{Op: "mount " + m.source,
				Err: fmt.Errorf("the container has another directory at %s than the one that was checked: "+
					"its path was changed meanwhile, or %s sees other mounts", m.target, v.engine.Name()),
				Hint: "mount a directory whose path nobody else can change, with the " + v.engine.Name() + " of this machine"}
		}
	}
	return nil
}

// verifyShare looks at one share. known says that /proc shows it.
func (v verifier) verifyShare(ctx context.Context, f Found, share drivers.Mount) (known bool, err error) {
	for target, writable := range f.Writable {
		if writable && (mounts.Within(target, share.Target()) || mounts.Within(share.Target(), target)) {
			return false, &drivers.Error{Op: "start the container", Err: fmt.Errorf("%s mounted %s writable", v.engine.Name(), target),
				Hint: "this engine can't be used: it does not keep mounts read-only"}
		}
	}
	seen := look(f.PID, share)
	if seen.known && !seen.readOnly {
		return true, &drivers.Error{Op: "start the container", Err: fmt.Errorf("%s did not make the share read-only", v.engine.Name()),
			Hint: "this engine can't be used: it does not keep mounts read-only"}
	}
	if !seen.known {
		if err := v.compare(ctx, f.ID, share); err != nil {
			return false, err
		}
	}
	return seen.known, readable(f.PID, share.Source())
}

// holds says whether the container has the judged directory at m's target. It says so
// too of one that has ended: nothing can be seen of that any more.
func (v verifier) holds(ctx context.Context, f Found, m shown, judged drivers.Directory, byProc bool) bool {
	if byProc {
		inside, err := directoryAt(f.PID, m.target)
		return inside == judged || errors.Is(err, os.ErrProcessDone)
	}
	for try := range compareTries {
		if Pause(ctx, time.Duration(try)*comparePause) != nil {
			return false
		}
		before, err := modified(m.source, judged)
		if err != nil {
			return false // another directory is at the source itself by now
		}
		inside, err := v.engine.Stat(ctx, f.ID, m.target)
		if errors.Is(err, drivers.ErrNotFound) {
			return false
		}
		after, failed := modified(m.source, judged)
		// Between the two looks it may have been written to.
		if err == nil && failed == nil && inside.IsDir && !inside.Modified.Before(before) && !inside.Modified.After(after) {
			return true
		}
		if now, err := v.finder.find(ctx, f.Labels[drivers.LabelSandboxID]); err == nil && now.State != drivers.Running {
			return true
		}
	}
	return false
}

// modified is when the directory at path was changed last. Any but the judged one is an
// error.
func modified(path string, judged drivers.Directory) (time.Time, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return time.Time{}, err
	}
	if (drivers.Directory{Device: uint64(st.Dev), Inode: st.Ino}) != judged {
		return time.Time{}, errors.New("another directory")
	}
	return time.Unix(st.Mtim.Unix()), nil
}

// How often the engine is asked what a container has. Each pause between is longer than
// the one before, by comparePause.
const (
	compareTries = 6
	comparePause = 50 * time.Millisecond
)

// compare asks the engine what it has at the share's target, and whether that was
// changed when the source was. It tries several times: a publish may come between, and
// Podman can't look into a container that is about to end.
func (v verifier) compare(ctx context.Context, name string, share drivers.Mount) (err error) {
	for try := range compareTries {
		if failed := Pause(ctx, time.Duration(try)*comparePause); failed != nil {
			return failed
		}
		outside, failed := os.Stat(share.Source())
		if failed != nil {
			return checkSource(share.Source())
		}
		inside, failed := v.engine.Stat(ctx, name, share.Target())
		switch {
		case errors.Is(failed, drivers.ErrNotFound):
			err = elsewhere(v.engine, share.Source(), "shows nothing there")
		case failed != nil:
			err = v.engine.Explain("look at the share from inside", failed)
		case inside.IsDir && inside.Modified.Equal(outside.ModTime()):
			return nil
		default:
			err = elsewhere(v.engine, share.Source(), "shows another directory there")
		}
	}
	return err
}
