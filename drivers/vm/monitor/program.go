package monitor

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"

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
		Caps: p.caps, Tasks: p.tasks, Cgroup: m.cfg.guestCgroup().Part(p.name), Require: m.cfg.RequireJail,
	}, p.files...)
	if err != nil {
		return err
	}
	says, err := m.toolOutput(p.name)
	if err != nil {
		cmd.Close()
		return err
	}
	defer says.Close()
	cmd.Stdout, cmd.Stderr = says, says
	return m.group.run(p.name, cmd)
}

// toolOutput is a file whose lines end in the tools' log, with the program's
// name before each.
func (m *monitor) toolOutput(name string) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	go func() {
		defer r.Close()
		lines := bufio.NewReader(r)
		for {
			line, err := lines.ReadSlice('\n') // a longer one than the buffer comes in parts
			if len(line) > 0 {
				m.tools.Write(slices.Concat([]byte(name+": "), bytes.TrimRight(line, "\n"), []byte{'\n'}))
			}
			if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
				return
			}
		}
	}()
	return w, nil
}

// toolLines of the tools' log are looked at for a dead program's last one.
const toolLines = 50

// said is the last line that a program of the VM wrote; "" if it wrote none.
func (m *monitor) said(name string) string {
	lines := tail(m.cfg.file(ToolsFile), toolLines)
	for _, line := range slices.Backward(lines) {
		if text, ok := strings.CutPrefix(line, name+": "); ok {
			return text
		}
	}
	return ""
}
