package monitor

import (
	"os"

	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/monitor/programs"
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

// Start starts a process whose end is not the VM's. After group.Kill it may still take a
// moment to die.
func (f forNetwork) Start(p hypervisor.Process, died func(keeper.Death)) (kill func(), err error) {
	group := f.m.group
	err = group.Start(p, func(d programs.Death) { died(keeper.Death{Why: group.Why(d), Killed: d.BySIGKILL()}) })
	if err != nil {
		return nil, err
	}
	return group.Killer(p.Name), nil
}

func (f forNetwork) Ends() bool { return f.m.group.Killed() }
