package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
)

// verify makes sure, once the container runs, that its share is this host's
// directory, is read-only and can be read. It looks through /proc where it
// may; else it asks the engine.
func (d *Driver) verify(ctx context.Context, spec drivers.Spec) error {
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
	return readable(f.PID, spec.Auth.Source())
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
	root, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return s
	}
	defer unix.Close(root)
	// The container's own links must not lead out of its root.
	fd, err := unix.Openat2(root, share.Target(), &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
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

// compare asks the engine what it has at the share's target, and whether that
// changed when the source did. Some tries: a publish may come between, and
// Podman can't look into a container that is just about to end.
func (d *Driver) compare(ctx context.Context, name string, share drivers.Mount) (err error) {
	for try := range 6 {
		if try > 0 {
			if failed := Pause(ctx, time.Duration(try)*50*time.Millisecond); failed != nil {
				return failed
			}
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
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/uid_map")
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
