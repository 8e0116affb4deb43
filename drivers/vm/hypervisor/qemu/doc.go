// Package qemu is the QEMU hypervisor: QEMU itself, with KVM or TCG, and two virtiofsds
// that serve the root and the shares. It works on any machine.
//
// The command lines are pure functions of their arguments. Every path on them is inside
// the program's jail, and every socket is an inherited descriptor.
//
// What is not promised: that an unknown version of a program takes these options. If it
// refuses one, the monitor shows the user what it says.
package qemu
