// Package qemu is the QEMU hypervisor: QEMU itself, by KVM or by translation, and
// two virtiofsds that serve the root and the shares. It works on any machine.
//
// The command lines are pure functions of their arguments. Every path on one is one
// inside the program's jail, and every socket is an inherited descriptor. What is
// not promised: that a program of a version never seen takes these options; a
// refusal of its own is shown to the user by the monitor.
package qemu
