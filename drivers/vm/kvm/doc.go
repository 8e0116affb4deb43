// Package kvm finds out whether KVM can run a guest here.
//
// That /dev/kvm can be opened proves little: there are virtual machines in which
// it makes VMs and then fails at, or hangs in, the first instructions that every
// ordinary kernel needs. So those are run, in a child that is killed after a
// deadline, and what came of it is remembered until the next boot.
//
// What is not promised: a guest with many processors, much memory or
// devices in the kernel is not tried. On arm64 no instruction is run, only
// a virtual processor is made: there, no machine is known where that works and a
// guest does not.
package kvm
