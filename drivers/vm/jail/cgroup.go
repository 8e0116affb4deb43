package jail

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"openshell-vm/drivers/vm/cgroup"
)

// cgroupPrefix begins the name of the cgroup that a jail has beside its caller's.
const cgroupPrefix = "openshell-jail-"

// makeCgroup makes the cgroup that counts the jail's tasks: in Config's or, where
// there is none, beside the caller's, if it can be had there.
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

// counting is the part of a jail's cgroup that is its own: made before it and
// removed after it.
func counting(g cgroup.Group) cgroup.Group { return cgroup.Group{Tasks: g.Tasks} }

// joinCgroup moves this process into the cgroup that the parent has made. It
// makes it once more where somebody, who took it for one that was left behind, has
// removed it. What must be joined is an error.
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

// sweepCgroups removes the cgroups of trial jails whose parent was killed, and
// those that a killed monitor of an older version has left in the group that it was
// started in. The kernel refuses to remove one that is in use, and a jail that has
// not joined its own yet makes it again.
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
