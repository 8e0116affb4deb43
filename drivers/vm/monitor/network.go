package monitor

import (
	"os"

	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/network/keeper"
)

// openNetwork makes the guest's network, and returns the hypervisor's end of its card.
// Without a network it does nothing.
func (m *monitor) openNetwork() (card *os.File, err error) {
	if m.cfg.Network == nil {
		return nil, nil
	}
	m.net, card, err = keeper.Open(forNetwork{m}, m.cfg.Network, m.cfg.NetworkProgram, m.log)
	if err != nil {
		return nil, &refusal{err}
	}
	return card, nil
}

// forNetwork is the monitor as its network sees it.
type forNetwork struct{ m *monitor }

// Start starts a process whose end is not the VM's. After group.kill it may still take a
// moment to die.
func (f forNetwork) Start(p hypervisor.Process, died func(keeper.Death)) (kill func(), err error) {
	err = f.m.startUntil(p, func(d death) { died(keeper.Death{Why: f.m.aside(d), Killed: d.bySIGKILL()}) })
	if err != nil {
		return nil, err
	}
	return f.m.group.killer(p.Name), nil
}

func (f forNetwork) Ends() bool { return f.m.group.isKilled() }

// aside says why a process ended whose end is not the VM's.
func (m *monitor) aside(d death) string {
	why := d.String()
	if oom := m.outOfMemory(d.name); oom != "" && d.bySIGKILL() {
		return oom
	}
	if said := m.tools.Said(d.name); said != "" && !d.bySIGKILL() {
		why += ": " + said
	}
	return why
}
