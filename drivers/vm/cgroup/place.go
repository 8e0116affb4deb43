package cgroup

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/mounts"
	"openshell-vm/internal/procfs"
)

// Place is where this process may make groups: a directory for each controller; in version
// 2 they are the same. If one is "", its error says why there is none.
type Place struct {
	Memory, Tasks     string
	NoMemory, NoTasks error
}

var here = host{mountinfo: mounts.Self, member: procfs.Path(0, "cgroup"), writable: writable}

// Here finds the place of this process.
func Here() Place { return here.place() }

// Own returns the group that this process is in, as far as it can be seen. Enter on it
// moves the process back later.
func Own() (g Group) {
	if at, err := here.own(memory); err == nil {
		g.Memory = at.dir
	}
	if at, err := here.own(tasks); err == nil {
		g.Tasks = at.dir
	}
	return g
}

// Hint says what to do on a host where there is no Place.
const Hint = "root's gateway can limit it, and one under systemd --user on a host with cgroup version 2; " +
	"in a container, /sys/fs/cgroup must be writable"

// Group returns the group of that name there, whether it exists or not.
func (p Place) Group(name string) Group {
	var g Group
	if p.Memory != "" {
		g.Memory = filepath.Join(p.Memory, name)
	}
	if p.Tasks != "" {
		g.Tasks = filepath.Join(p.Tasks, name)
	}
	return g
}

// host is what place needs to know; tests make one up.
type host struct {
	mountinfo, member string // files of /proc
	writable          func(path string) error
}

const (
	memory = "memory"
	tasks  = "pids"
)

func (h host) place() (p Place) {
	p.Memory, p.NoMemory = h.find(memory)
	p.Tasks, p.NoTasks = h.find(tasks)
	return p
}

// find returns the directory in which groups with this controller can be made.
func (h host) find(controller string) (string, error) {
	own, err := h.own(controller)
	if err != nil {
		return "", err
	}
	if own.v2 {
		return h.above(own.dir, own.top, controller)
	}
	if err := h.mayMake(own.dir); err != nil {
		return "", err
	}
	return own.dir, nil
}

// group says where this process is, in the hierarchy of a controller.
type group struct {
	dir string
	top string // the topmost group of the hierarchy that can be seen
	v2  bool
}

func (h host) own(controller string) (group, error) {
	table, err := mounts.Read(h.mountinfo)
	if err != nil {
		return group{}, err
	}
	member, err := procfs.Cgroups(h.member)
	if err != nil {
		return group{}, err
	}
	own := membership(member)
	if path, ok := own[controller]; ok {
		return locate(table, path, controller, func(m mounts.Entry) bool {
			return m.Type == "cgroup" && slices.Contains(strings.Split(m.Options, ","), controller)
		})
	}
	g, err := locate(table, own[""], controller, func(m mounts.Entry) bool { return m.Type == "cgroup2" })
	g.v2 = true
	return g, err
}

// membership returns the paths by controller; the key "" is for version 2.
func membership(all []procfs.Cgroup) map[string]string {
	own := map[string]string{}
	for _, c := range all {
		if c.V2 {
			own[""] = c.Path
		}
		for _, controller := range c.Controllers {
			own[controller] = c.Path
		}
	}
	return own
}

// locate finds the directory of the group at path. In a container the mount may show only
// a part of the hierarchy.
func locate(table []mounts.Entry, path, controller string, isIt func(mounts.Entry) bool) (group, error) {
	if path == "" {
		return group{}, fmt.Errorf("the kernel has no %s controller", controller)
	}
	err := fmt.Errorf("no cgroup hierarchy with the %s controller is mounted", controller)
	for _, m := range table {
		if !isIt(m) {
			continue
		}
		if rel, ok := inside(path, m.Root); ok {
			return group{dir: filepath.Join(m.Point, rel), top: m.Point}, nil
		}
		err = fmt.Errorf("its cgroup %s is not in sight at %s", path, m.Point)
	}
	return group{}, err
}

// inside returns the way from a mount's root to path. A path outside of this process's
// cgroup namespace begins with "/..".
func inside(path, root string) (rel string, ok bool) {
	if strings.HasPrefix(path, "/..") || path != root && !mounts.Below(path, root) {
		return "", false
	}
	rel, err := filepath.Rel(root, path)
	return rel, err == nil
}

// above finds the nearest of dir and its parents that hands the controller on and in which
// groups can be made. It does not go above a group with limits: somebody has set these for
// all that is started in the group.
func (h host) above(dir, top, controller string) (string, error) {
	var problem error
	for at := dir; ; at = filepath.Dir(at) {
		if hands(at, controller) || isRoot(at) && has(at, "cgroup.controllers", controller) {
			err := h.mayMake(at)
			if err == nil {
				return at, nil
			}
			problem = cmp.Or(problem, err)
		}
		if file := limit(at); file != "" {
			return "", cmp.Or(problem, fmt.Errorf("%s bounds all that is started in its group, VMs included", file))
		}
		if at == top || at == "/" {
			break
		}
	}
	if problem == nil {
		problem = fmt.Errorf("no cgroup from %s up hands the %s controller on", dir, controller)
	}
	return "", problem
}

// limit returns the file that limits a group; "" if there is none.
func limit(dir string) string {
	for _, name := range []string{"memory.max", "memory.high", "memory.swap.max", "cpu.max", "cpuset.cpus", "io.max"} {
		file := filepath.Join(dir, name)
		data, err := os.ReadFile(file)
		value := strings.TrimSpace(string(data))
		if err == nil && value != "" && value != "max" && !strings.HasPrefix(value, "max ") {
			return file
		}
	}
	return ""
}

// mayMake returns nil if this process can make groups in dir and move itself there.
func (h host) mayMake(dir string) error {
	return cmp.Or(h.writable(dir), h.writable(filepath.Join(dir, procsFile)))
}

func writable(path string) error {
	err := unix.Access(path, unix.W_OK)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("%s is read-only", path)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%s is another user's", path)
	}
	return &os.PathError{Op: "access", Path: path, Err: err}
}

// isRoot reports whether dir is the root of all groups of version 2. Only that one may
// have processes beside children with limits.
func isRoot(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "cgroup.type"))
	return errors.Is(err, os.ErrNotExist) && isV2(dir)
}

func isV2(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "cgroup.controllers"))
	return err == nil
}

// hands reports whether dir hands the controller on to the groups in it.
func hands(dir, controller string) bool { return has(dir, handsFile, controller) }

func has(dir, file, word string) bool {
	data, err := os.ReadFile(filepath.Join(dir, file))
	return err == nil && slices.Contains(strings.Fields(string(data)), word)
}
