// Package all lists the hypervisors. It and their folders are all that names them.
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

// New makes all hypervisors, in the order in which auto tries them, with what the
// user chose by environment variables, which getenv looks up; nil for nothing chosen.
func New(getenv func(string) string) (all []hypervisor.Hypervisor, err error) {
	if getenv == nil {
		getenv = func(string) string { return "" }
	}
	for _, make := range makers {
		h, err := make(getenv)
		if err != nil {
			return nil, err
		}
		all = append(all, h)
	}
	return all, nil
}

// Read takes the tools of the hypervisor with that name, as they were written.
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
