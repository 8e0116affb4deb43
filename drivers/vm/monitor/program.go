package monitor

import (
	"os"
	"path/filepath"
	"strings"

	"openshell-vm/drivers/vm/jail"
)

// program is one process of the VM, to be run in a jail of its own.
type program struct {
	name    string // for people: "qemu"
	path    string // on the host
	args    []string
	tree    []jail.Bind // what it sees beside the system's libraries
	masks   []string    // directories in the jail that are covered
	devices []string
	proc    bool     // needs a /proc
	caps    []string // beside the profile's
	profile jail.Profile
	tasks   uint64
	files   []*os.File // inherited, from descriptor 3 on
}

// start runs p in its jail as a member of the VM.
func (m *monitor) start(p program) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	path, libraries, err := systemFiles(p.path)
	if err != nil {
		return err
	}
	cmd, err := jail.Command(self, jail.Config{
		Name: p.name + "-" + m.cfg.ID, Profile: p.profile,
		Path: path, Args: p.args, Env: []string{"PATH=/usr/bin:/bin", "LC_ALL=C"},
		Binds: append(libraries, p.tree...), Masks: p.masks, Devices: p.devices, Proc: p.proc,
		Caps: p.caps, Tasks: p.tasks, Require: m.cfg.RequireJail,
	}, p.files...)
	if err != nil {
		return err
	}
	says, err := m.toolOutput()
	if err != nil {
		cmd.Close()
		return err
	}
	defer says.Close()
	cmd.Stdout, cmd.Stderr = says, says
	return m.group.run(p.name, cmd)
}

// systemDirs hold programs and what they load; the jail sees them as they are.
var systemDirs = []string{"/usr", "/lib", "/lib32", "/lib64", "/nix/store"}

// systemFiles gives what a program of the host needs to be loaded: the system's
// libraries and, if it lies elsewhere, its own directory. path is the program
// with its symlinks resolved.
func systemFiles(program string) (path string, binds []jail.Bind, err error) {
	path, err = filepath.EvalSymlinks(program)
	if err != nil {
		return "", nil, err
	}
	covered := false
	for _, dir := range systemDirs {
		if _, err := os.Stat(dir); err == nil {
			binds = append(binds, jail.Bind{Source: dir, Target: dir, Exec: true})
			covered = covered || strings.HasPrefix(path, dir+"/")
		}
	}
	if _, err := os.Stat("/etc/ld.so.cache"); err == nil {
		binds = append(binds, jail.Bind{Source: "/etc/ld.so.cache", Target: "/etc/ld.so.cache"})
	}
	if !covered {
		own := filepath.Dir(path)
		binds = append(binds, jail.Bind{Source: own, Target: own, Exec: true})
	}
	return path, binds, nil
}

// toolOutput is a file whose writes end in the tools' log.
func (m *monitor) toolOutput() (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	go func() {
		defer r.Close()
		copyTo(m.tools, r)
	}()
	return w, nil
}
