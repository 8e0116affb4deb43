package kvm

import "unsafe"

// address is where the kernel finds memory that mmap gave.
func address(memory []byte) uint64 { return uint64(uintptr(unsafe.Pointer(&memory[0]))) }
