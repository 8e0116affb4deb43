package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
	"openshell-vm/internal/procfs"
)

// verify makes sure, once the container runs, that its share is this host's
// directory, is read-only and can be read, and that the user's directories are
// those that were judged. It looks through /proc where it may; else it asks the
// engine.
func (d *Driver) verify(ctx context.Context, spec drivers.Spec, judged map[string]drivers.Directory) error {
	f, err := d.find(ctx, spec.ID)
	if err != nil {
		return err
	}
	for target, writable := range f.Writable {
		if writable && (target == spec.Auth.Target() || nested(target, spec.Auth.Target())) {
			return &drivers.Error{Op: "start the container", Err: fmt.Errorf("%s mounted %s writable", d.Name(), target),
				Hint: "this engine can't be used: it does not keep mounts read-only"}
		}
	}
	seen := look(f.PID, spec.Auth)
	if seen.known && !seen.readOnly {
		return &drivers.Error{Op: "start the container", Err: fmt.Errorf("%s did not make the share read-only", d.Name()),
			Hint: "this engine can't be used: it does not keep mounts read-only"}
	}
	if !seen.known {
		if err := d.compare(ctx, f.ID, spec.Auth); err != nil {
			return err
		}
	}
	for _, m := range spec.Mounts {
		if !d.holds(ctx, f, m, judged[m.Target()], seen.known) {
			return &drivers.Error{Op: "mount " + m.Source(),
				Err: fmt.Errorf("the container has another directory at %s than the one that was checked: "+
					"its path was changed meanwhile, or %s sees other mounts", m.Target(), d.Name()),
				Hint: "mount a directory whose path nobody else can change, with the " + d.Name() + " of this machine"}
		}
	}
	return readable(f.PID, spec.Auth.Source())
}

// holds says whether the container has the judged directory at m's target. One
// that has ended can't be looked at any more, and counts.
func (d *Driver) holds(ctx context.Context, f Found, m drivers.Mount, judged drivers.Directory, byProc bool) bool {
	if byProc {
		inside, err := directoryAt(f.PID, m.Target())
		return inside == judged || errors.Is(err, os.ErrProcessDone)
	}
	for try := range compareTries {
		if Pause(ctx, time.Duration(try)*comparePause) != nil {
			return false
		}
		before, err := modified(m.Source(), judged)
		if err != nil {
			return false // what is at the source now is another one, too
		}
		inside, err := d.engine.Stat(ctx, f.ID, m.Target())
		if errors.Is(err, drivers.ErrNotFound) {
			return false
		}
		after, failed := modified(m.Source(), judged)
		// It may be written to at this very time.
		if err == nil && failed == nil && inside.IsDir && !inside.Modified.Before(before) && !inside.Modified.After(after) {
			return true
		}
		if now, err := d.find(ctx, f.Labels[drivers.LabelSandboxID]); err == nil && now.State != drivers.Running {
			return true
		}
	}
	return false
}

// modified is when the directory at path, if it is the judged one, was changed last.
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

// directoryAt is what process pid has at a path in its root; os.ErrProcessDone
// if it has ended.
func directoryAt(pid int, path string) (drivers.Directory, error) {
	root, err := unix.Open(procfs.Path(pid, "root"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return drivers.Directory{}, os.ErrProcessDone // it could be opened a moment ago
	}
	defer unix.Close(root)
	fd, err := openIn(root, path)
	if err != nil {
		return drivers.Directory{}, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return drivers.Directory{}, err
	}
	return drivers.Directory{Device: uint64(st.Dev), Inode: st.Ino}, nil
}

// openIn opens a directory in a container's root. The container's own links
// must not lead out of it.
func openIn(root int, path string) (int, error) {
	return unix.Openat2(root, path, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// sight is what /proc shows of a container's share.
type sight struct {
	known    bool // it is this very directory; if not, nothing can be said
	readOnly bool
}

// look compares what process pid has at the share's target with its source.
// A remote engine's pid is somebody else's here, and shows something else.
func look(pid int, share drivers.Mount) (s sight) {
	if pid <= 0 {
		return s
	}
	root, err := unix.Open(procfs.Path(pid, "root"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return s
	}
	defer unix.Close(root)
	fd, err := openIn(root, share.Target())
	if err != nil {
		return s
	}
	defer unix.Close(fd)
	var inside, outside unix.Stat_t
	var fs unix.Statfs_t
	if unix.Fstat(fd, &inside) != nil || unix.Stat(share.Source(), &outside) != nil || unix.Fstatfs(fd, &fs) != nil {
		return s
	}
	s.known = inside.Dev == outside.Dev && inside.Ino == outside.Ino
	s.readOnly = fs.Flags&unix.ST_RDONLY != 0
	return s
}

// How often the engine is asked what a container has, and by how much longer
// each pause between is.
const (
	compareTries = 6
	comparePause = 50 * time.Millisecond
)

// compare asks the engine what it has at the share's target, and whether that
// changed when the source did. Some tries: a publish may come between, and
// Podman can't look into a container that is just about to end.
func (d *Driver) compare(ctx context.Context, name string, share drivers.Mount) (err error) {
	for try := range compareTries {
		if failed := Pause(ctx, time.Duration(try)*comparePause); failed != nil {
			return failed
		}
		outside, failed := os.Stat(share.Source())
		if failed != nil {
			return checkSource(share.Source())
		}
		inside, failed := d.engine.Stat(ctx, name, share.Target())
		switch {
		case errors.Is(failed, drivers.ErrNotFound):
			err = d.elsewhere(share.Source(), "shows nothing there")
		case failed != nil:
			err = d.engine.Explain("look at the share from inside", failed)
		case inside.IsDir && inside.Modified.Equal(outside.ModTime()):
			return nil
		default:
			err = d.elsewhere(share.Source(), "shows another directory there")
		}
	}
	return err
}

// readable refuses a share that only its owner may read when that owner does
// not exist in the container's user namespace.
func readable(pid int, source string) error {
	var st unix.Stat_t
	if pid <= 0 || unix.Stat(source, &st) != nil || st.Mode&0o005 == 0o005 {
		return nil
	}
	data, err := os.ReadFile(procfs.Path(pid, "uid_map"))
	if err != nil || mapped(string(data), st.Uid) {
		return nil
	}
	return &drivers.Error{Op: "start the container",
		Err:  fmt.Errorf("the share belongs to uid %d and only that may read it, and the container's user namespace does not have it", st.Uid),
		Hint: "let others read it (chmod o+rx " + source + "), or start the engine without userns-remap or --userns=auto"}
}

// mapped says whether a uid_map holds the host's uid.
func mapped(uidMap string, uid uint32) bool {
	for line := range strings.Lines(uidMap) {
		var inside, outside, count uint64
		if n, _ := fmt.Sscan(line, &inside, &outside, &count); n == 3 && uint64(uid) >= outside && uint64(uid) < outside+count {
			return true
		}
	}
	return false
}
