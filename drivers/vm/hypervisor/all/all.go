// Package all lists the hypervisors. Only this package and their own folders name them.
package all

import (
	"fmt"

	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/hypervisor/krun"
	"openshell-vm/drivers/vm/hypervisor/qemu"
)

// makers are in the order in which auto tries them.
var makers = []func(getenv func(string) string) (hypervisor.Hypervisor, error){
	krun.FromEnvironment,
	qemu.FromEnvironment,
}

// New makes all hypervisors, in the order in which auto tries them. They take the user's
// choices from environment variables, by getenv; nil means no choices.
func New(getenv func(string) string) (all []hypervisor.Hypervisor, err error) {
	if getenv == nil {
		getenv = func(string) string { return "" }
	}
	for _, maker := range makers {
		h, err := maker(getenv)
		if err != nil {
			return nil, err
		}
		all = append(all, h)
	}
	return all, nil
}

// Read reads from JSON the tools of the hypervisor with that name.
func Read(name string, tools []byte) (hypervisor.Tools, error) {
	all, err := New(nil)
	if err != nil {
		return nil, err
	}
	for _, h := range all {
		if h.Name() == name {
			return h.Read(tools)
		}
	}
	return nil, fmt.Errorf("this version knows no hypervisor %q", name)
}
