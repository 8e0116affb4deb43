package monitor

import (
	"os"
	"slices"

	"openshell-vm/drivers/vm/jail"
)

// program is one process of the VM, to be run in a jail of its own.
type program struct {
	name string // for people: "qemu"
	Program
	args    []string
	tree    []jail.Bind // what it sees beside the program's own files
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
	cmd, err := jail.Command(self, jail.Config{
		Name: p.name + "-" + m.cfg.ID, Profile: p.profile,
		Path: p.Path, Args: p.args, Env: []string{"PATH=/usr/bin:/bin", "LC_ALL=C"},
		Binds: slices.Concat(p.Files, p.tree), Masks: p.masks, Devices: p.devices, Proc: p.proc,
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
