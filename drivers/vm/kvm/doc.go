// Package kvm finds out whether KVM can run a guest here.
//
// An open /dev/kvm proves little. In some virtual machines it makes VMs, but then it fails
// or hangs in the first instructions, which every ordinary kernel needs. So this package
// runs such instructions in a child, kills the child after a deadline, and remembers the
// result until the next boot.
//
// What is not promised: it does not try a guest with many processors, much memory or
// devices in the kernel. On arm64 it only makes a virtual processor and runs no
// instruction: no arm64 machine is known where the first works and a guest does not.
package kvm
