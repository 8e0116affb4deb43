package monitor

import (
	"os"

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
	says, err := m.tools.Output(p.Name)
	if err != nil {
		cmd.Close()
		return err
	}
	defer says.Close()
	cmd.Stdout, cmd.Stderr = says, says
	return m.group.runUntil(p, cmd, died)
}
