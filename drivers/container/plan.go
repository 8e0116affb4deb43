package container

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
	"openshell-vm/internal/mounts"
)

// plan is what a sandbox will see of the host.
type plan struct {
	share Bind
	binds []Bind
	masks []string
	// judged tells, by target, which directory was found at each of the user's sources.
	judged map[string]drivers.Directory
}

// planOf checks each source and says what is mounted where. It refuses what
// would show a hidden directory or hide the share.
func planOf(spec drivers.Spec, host Host) (plan, error) {
	recursive := host.RecursiveReadOnly
	var sockets []string
	if host.Socket != "" {
		sockets = append(sockets, host.Socket)
	}
	p := plan{share: Bind{spec.Auth.Source(), spec.Auth.Target(), recursive}, judged: map[string]drivers.Directory{}}
	taken := []string{spec.Auth.Target()}
	for _, m := range spec.Mounts {
		for _, other := range taken {
			if m.Target() == other || other == spec.Auth.Target() && nested(m.Target(), other) {
				return plan{}, &drivers.Error{
					Op:   "mount " + m.Source(),
					Err:  fmt.Errorf("its target %s and %s are in each other's way", m.Target(), other),
					Hint: "give --mount another target",
				}
			}
		}
		taken = append(taken, m.Target())
		if err := checkSource(m.Source()); err != nil {
			return plan{}, err
		}
		judged, masks, err := drivers.Judge(m.Source(), spec.Hidden, sockets...)
		if err != nil {
			return plan{}, err
		}
		p.judged[m.Target()] = judged
		p.binds = append(p.binds, Bind{m.Source(), m.Target(), recursive})
		for _, mask := range masks {
			if recursive || sameMount(m.Source(), mask) {
				p.masks = append(p.masks, path.Join(m.Target(), mask))
			}
		}
	}
	return p, nil
}

// nested says whether one of the two paths lies in the other.
func nested(a, b string) bool { return mounts.Below(a, b) || mounts.Below(b, a) }

// checkSource gives the line for a directory that cannot be mounted, before
// the engine gives its own.
func checkSource(source string) error { return drivers.CheckDir("mount "+source, source) }

// sameMount says whether the parent of rel is on the same mount as source. Then a mount
// of source without its submounts shows it. If that cannot be found out it says yes: to
// cover too much fails, to cover too little leaks.
func sameMount(source, rel string) bool {
	dir, err := unix.Open(source, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return true
	}
	defer unix.Close(dir)
	fd, err := unix.Openat2(dir, filepath.Dir(rel), &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return !errors.Is(err, unix.EXDEV)
	}
	unix.Close(fd)
	return true
}
