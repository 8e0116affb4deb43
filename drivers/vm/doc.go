// Package vm is the driver that runs each sandbox in a virtual machine.
//
// The driver itself keeps nothing running. Start leaves a monitor behind (package monitor),
// which holds the VM. Everything else asks that monitor, or reads what it left in the
// sandbox's directory. So a gateway that was killed finds its sandboxes again, by nothing
// but the directory's path. Package hypervisor/all lists the hypervisors.
//
// What is not promised: nothing here moves a VM, or restarts one that has run. Only its
// monitor pauses it, when the host's disk is nearly full.
package vm
