package monitor

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"

	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/jail"
)

// start runs a process of the VM in its jail.
func (m *monitor) start(p hypervisor.Process) error { return m.startUntil(p, m.group.report) }

// startUntil is start for a process whose death died is told of.
func (m *monitor) startUntil(p hypervisor.Process, died func(death)) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	j := p.Jail
	j.Name, j.Env = p.Name+"-"+m.cfg.ID, []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
	j.Cgroup, j.Require = m.cfg.guestCgroup().Part(p.Name), m.cfg.RequireJail
	cmd, err := jail.Command(self, j, p.Files...)
	if err != nil {
		return err
	}
	says, err := m.toolOutput(p.Name)
	if err != nil {
		cmd.Close()
		return err
	}
	defer says.Close()
	cmd.Stdout, cmd.Stderr = says, says
	return m.group.runUntil(p, cmd, died)
}

// toolOutput returns a pipe for a program's output. Its lines go into the tools' log,
// with the program's name before each.
func (m *monitor) toolOutput(name string) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	go func() {
		defer r.Close()
		lines := bufio.NewReader(r)
		for {
			line, err := lines.ReadSlice('\n') // a line longer than the buffer comes in parts
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

// toolLines is how many lines of the tools' log are searched for a dead program's last
// one.
const toolLines = 50

// said returns the last line that a program of the VM wrote; "" if it wrote none.
func (m *monitor) said(name string) string {
	lines := tail(m.cfg.file(ToolsFile), toolLines)
	for _, line := range slices.Backward(lines) {
		if text, ok := strings.CutPrefix(line, name+": "); ok {
			return text
		}
	}
	return ""
}
