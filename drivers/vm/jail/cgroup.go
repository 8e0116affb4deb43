package jail

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cgroupPrefix begins the names of the cgroups of all jails.
const cgroupPrefix = "openshell-jail-"

// joinCgroup moves this process into cgroups of its own, below those that it
// was started in: in the unified hierarchy, so that all of the jail can be
// told from outside, and in the one that counts tasks. It uses only what it has
// been delegated; a jail without a cgroup is weaker only in that root's tasks
// are not limited.
func joinCgroup(cfg Config, r *Report) {
	parents, err := ownCgroups()
	if err != nil {
		r.NoCgroup = err.Error()
		return
	}
	for _, parent := range parents {
		dir := filepath.Join(parent, cgroupPrefix+cfg.Name)
		if err := enterCgroup(dir); err != nil {
			r.NoCgroup = err.Error()
			continue
		}
		r.Cgroups = append(r.Cgroups, dir)
		sweepCgroups(parent)
		if cfg.Tasks > 0 && limitCgroup(dir, cfg.Tasks) == nil {
			r.Tasks = cfg.Tasks
		}
	}
}

// limitCgroup fails where dir's hierarchy does not count tasks.
func limitCgroup(dir string, tasks uint64) error {
	return os.WriteFile(filepath.Join(dir, "pids.max"), []byte(strconv.FormatUint(tasks, 10)), 0)
}

// enterCgroup makes dir and moves this process into it. It tries again where
// another jail has swept dir away before it was in use.
func enterCgroup(dir string) error {
	for attempt := 1; ; attempt++ {
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0)
		if err == nil {
			return nil
		}
		if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ENODEV) || attempt == 5 {
			os.Remove(dir)
			return err
		}
	}
}

// sweepCgroups removes what killed monitors have left. The kernel refuses to
// remove a cgroup that is in use.
func sweepCgroups(parent string) {
	dirs, _ := filepath.Glob(filepath.Join(parent, cgroupPrefix+"*"))
	for _, dir := range dirs {
		os.Remove(dir)
	}
}

// ownCgroups are the directories of this process's cgroups that matter here.
func ownCgroups() ([]string, error) {
	member, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var dirs []string
	for line := range strings.Lines(string(member)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		controllers := strings.Split(f[1], ",")
		if f[0] != "0" && !slices.Contains(controllers, "pids") {
			continue
		}
		if point := cgroupMount(string(mounts), f[0] == "0"); point != "" {
			dirs = append(dirs, filepath.Join(point, f[2]))
		}
	}
	if len(dirs) == 0 {
		return nil, errors.New("no cgroup hierarchy is mounted")
	}
	return dirs, nil
}

// cgroupMount finds where the unified hierarchy is mounted, or that of pids.
func cgroupMount(mountinfo string, unified bool) string {
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(strings.TrimSpace(line), " - ")
		b, a := strings.Fields(before), strings.Fields(after)
		if !ok || len(b) < 5 || len(a) < 3 {
			continue
		}
		if unified && a[0] == "cgroup2" ||
			!unified && a[0] == "cgroup" && slices.Contains(strings.Split(a[2], ","), "pids") {
			return b[4]
		}
	}
	return ""
}

// RemoveCgroups removes what a jail's Report lists, once the jail has ended.
// The kernel may count a dead process for some milliseconds, which is waited
// for. What a killed parent left is removed by the next jail that starts.
func RemoveCgroups(dirs []string) error {
	var errs []error
	for _, dir := range dirs {
		deadline := time.Now().Add(time.Second)
		err := os.Remove(dir)
		for err != nil && !errors.Is(err, os.ErrNotExist) && time.Now().Before(deadline) {
			time.Sleep(5 * time.Millisecond)
			err = os.Remove(dir)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove cgroup: %w", err))
		}
	}
	return errors.Join(errs...)
}
