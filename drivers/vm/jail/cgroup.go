package jail

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"openshell-vm/drivers/vm/cgroup"
)

// cgroupPrefix begins the name of a jail's cgroup that lies beside its caller's.
const cgroupPrefix = "openshell-jail-"

// makeCgroup makes the cgroup that limits the jail's tasks. It is Config's or, if that
// is zero, one beside the caller's. why says why no such cgroup can be made there.
func makeCgroup(cfg Config) (g cgroup.Group, why string, err error) {
	limit := cgroup.Limits{Tasks: cfg.Tasks}
	if cfg.Cgroup != (cgroup.Group{}) {
		return cfg.Cgroup, "", counting(cfg.Cgroup).Make(limit)
	}
	place := cgroup.Here()
	if place.NoTasks != nil {
		return g, place.NoTasks.Error(), nil
	}
	g = counting(place.Group(cgroupPrefix + cfg.Name))
	if err := g.Make(limit); err != nil {
		return cgroup.Group{}, err.Error(), nil
	}
	return g, "", nil
}

// counting is the part of a jail's cgroup that limits tasks. It is the jail's own: it
// is made before the jail and removed after it.
func counting(g cgroup.Group) cgroup.Group { return cgroup.Group{Tasks: g.Tasks} }

// joinCgroup moves this process into the cgroup that the parent has made. If
// sweepCgroups of another process has removed it, joinCgroup makes it again. A cgroup
// that can't be joined is an error only if the Config names it.
func joinCgroup(s setup, r *Report) error {
	r.NoCgroup = s.NoCgroup
	var err error
	for range 5 {
		err = s.Cgroup.Enter()
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENODEV) {
			break
		}
		if err = counting(s.Cgroup).Make(cgroup.Limits{Tasks: s.Config.Tasks}); err != nil {
			break
		}
	}
	switch {
	case err != nil && s.Config.Cgroup == (cgroup.Group{}):
		r.NoCgroup = err.Error()
		return nil
	case err != nil:
		return err
	}
	r.Cgroups = s.Cgroup.Dirs()
	if s.Cgroup.Tasks != "" {
		r.Tasks = s.Config.Tasks
	}
	return nil
}

// sweepCgroups removes cgroups that were left behind: those of trial jails whose parent
// was killed, and those of killed monitors of an older version, which lie in the cgroup
// that the monitor was started in. The kernel refuses to remove a cgroup that is in use.
// A jail that has not joined its own yet makes it again.
func sweepCgroups() {
	for _, place := range []string{cgroup.Here().Tasks, cgroup.Own().Tasks} {
		if place == "" {
			continue
		}
		dirs, _ := filepath.Glob(filepath.Join(place, cgroupPrefix+"*"))
		for _, dir := range dirs {
			os.Remove(dir)
		}
	}
}
