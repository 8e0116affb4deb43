package container

import (
	"errors"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
)

// plan is what a sandbox will see of the host.
type plan struct {
	shares []Bind // the sandbox's own first
	binds  []Bind
	masks  []string
	// judged tells, by target, which directory was found at each of the user's sources.
	judged map[string]drivers.Directory
}

// shown is a directory of the user's, and where it shows in a container.
type shown struct{ source, target string }

func shownOf(spec drivers.Spec) (all []shown) {
	for _, m := range spec.Mounts {
		all = append(all, shown{m.Source(), m.Target()})
	}
	for _, w := range spec.Writable {
		all = append(all, shown{w.Source(), w.Target()})
	}
	return all
}

// planOf checks each source and says what is mounted where. It refuses what
// would show a hidden directory or hide the share.
func planOf(spec drivers.Spec, host Host) (plan, error) {
	recursive := host.RecursiveReadOnly
	var sockets []string
	if host.Socket != "" {
		sockets = append(sockets, host.Socket)
	}
	p := plan{judged: map[string]drivers.Directory{}}
	for _, m := range spec.AllShares() {
		p.shares = append(p.shares, Bind{Source: m.Source(), Target: m.Target(), Recursive: recursive})
	}
	if spec.Door != (drivers.Mount{}) {
		p.binds = append(p.binds, Bind{Source: spec.Door.Source(), Target: spec.Door.Target(), Recursive: recursive, Programs: true})
	}
	trees, err := drivers.JudgeMounts(spec, sockets...)
	if err != nil {
		return p, err
	}
	for i, tree := range trees {
		target := spec.Mounts[i].Target()
		p.judged[target] = tree.Is
		p.binds = append(p.binds, Bind{Source: tree.Source, Target: target, Recursive: recursive})
		for _, mask := range tree.Masks {
			if recursive || sameMount(tree.Source, mask) {
				p.masks = append(p.masks, path.Join(target, mask))
			}
		}
	}
	trees, err = drivers.JudgeWritable(spec, sockets...)
	for i, tree := range trees {
		target := spec.Writable[i].Target()
		p.judged[target] = tree.Is
		p.binds = append(p.binds, Bind{Source: tree.Source, Target: target, Recursive: true, Writable: true})
	}
	// Outer mounts come before those inside them.
	slices.SortStableFunc(p.binds, func(a, b Bind) int { return strings.Count(a.Target, "/") - strings.Count(b.Target, "/") })
	return p, err
}

// checkShares looks whether all shares of a sandbox are there.
func checkShares(spec drivers.Spec) error {
	for _, m := range spec.AllShares() {
		if err := checkSource(m.Source()); err != nil {
			return err
		}
	}
	return nil
}

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
