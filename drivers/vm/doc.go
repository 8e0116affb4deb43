// Package vm is the driver that runs each sandbox in a virtual machine.
//
// The driver itself keeps nothing running: Start leaves a monitor behind
// (package monitor), which holds the VM, and everything else is done by asking
// that monitor or by reading what it left in the sandbox's directory. Which
// hypervisors there are it does not know: package hypervisor/all lists them. So a
// gateway that was killed finds its sandboxes again, with nothing but the
// directory's path.
//
// What is not promised: a VM is not moved, paused or restarted by anything
// here, and has no network device.
package vm
