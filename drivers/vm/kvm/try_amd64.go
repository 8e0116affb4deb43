package kvm

import (
	_ "embed"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"unsafe"

	"golang.org/x/sys/unix"
)

// program is testdata/guest.S; the test assembles it again.
//
//go:embed guest_amd64.bin
var program []byte

// Addresses and the port that the guest program uses.
const (
	memorySize = 2 << 20
	entryPoint = 0x1000
	numberAt   = 0x9000
	answerPort = 0xf4
)

// answer returns what the guest computes from number.
func answer(number uint32) uint32 { return ((number+0x400+0x20000)*2 + 0x5000000) * 2 }

// Requests of x86, from linux/kvm.h.
const (
	getVCPUMapSize      = 0xae04
	getSupportedCPUID   = 0xc008ae05
	setUserMemoryRegion = 0x4020ae46
	setTSSAddress       = 0xae47
	run                 = 0xae80
	setRegs             = 0x4090ae82
	getSregs            = 0x8138ae83
	setSregs            = 0x4138ae84
	setCPUID2           = 0x4008ae90
)

// KVM's exit reasons.
const (
	exitIO            = 2
	exitHalt          = 5
	exitShutdown      = 8
	exitFailEntry     = 9
	exitInternalError = 17
)

// The kernel's structures, with names for the fields that we need.
type (
	memoryRegion struct { // kvm_userspace_memory_region, from guest address 0 on
		_, _        uint64
		size, where uint64
	}
	cpuid struct { // kvm_cpuid2
		count uint32
		_     [1 + 10*maxFeatures]uint32
	}
	registers struct { // kvm_regs
		_           [16]uint64
		rip, rflags uint64
	}
	segments struct { // kvm_sregs: the code segment and the rest
		base     uint64
		_        uint32
		selector uint16
		_        [298]byte
	}
)

const maxFeatures = 256

// prepare makes the VM's processor.
func prepare(m *machine) error {
	// Intel processors without unrestricted guests need three pages there.
	if _, err := call(m.vm, "KVM_SET_TSS_ADDR", setTSSAddress, 0xfffbd000); err != nil {
		return err
	}
	var err error
	m.vcpu, err = call(m.vm, "KVM_CREATE_VCPU", createVCPU, 0)
	return err
}

// try runs the program and checks its answer.
func try(device string) error {
	m, err := open(device)
	defer m.close()
	if err != nil {
		return err
	}
	number := rand.Uint32()
	if err := load(m, number); err != nil {
		return err
	}
	size, err := call(m.device, "KVM_GET_VCPU_MMAP_SIZE", getVCPUMapSize, 0)
	if err != nil {
		return err
	}
	state, err := unix.Mmap(m.vcpu, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map the virtual processor: %w", err)
	}
	defer unix.Munmap(state)
	got, err := resume(m, state, exitIO)
	if err != nil {
		return err
	}
	if want := answer(number); got != want {
		return fmt.Errorf("a guest computed %#x where %#x is right", got, want)
	}
	_, err = resume(m, state, exitHalt)
	return err
}

// load puts the program into the VM's memory, and sets the processor to its start.
func load(m machine, number uint32) error {
	memory, err := unix.Mmap(-1, 0, memorySize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return fmt.Errorf("allocate guest memory: %w", err)
	}
	copy(memory[entryPoint:], program)
	binary.LittleEndian.PutUint32(memory[numberAt:], number)
	region := memoryRegion{size: memorySize, where: address(memory)}
	if err := callWith(m.vm, "KVM_SET_USER_MEMORY_REGION", setUserMemoryRegion, &region); err != nil {
		return err
	}
	features := &cpuid{count: maxFeatures}
	if err := callWith(m.device, "KVM_GET_SUPPORTED_CPUID", getSupportedCPUID, features); err != nil {
		return err
	}
	if err := callWith(m.vcpu, "KVM_SET_CPUID2", setCPUID2, features); err != nil {
		return err
	}
	var s segments
	if err := callWith(m.vcpu, "KVM_GET_SREGS", getSregs, &s); err != nil {
		return err
	}
	s.base, s.selector = 0, 0
	if err := callWith(m.vcpu, "KVM_SET_SREGS", setSregs, &s); err != nil {
		return err
	}
	return callWith(m.vcpu, "KVM_SET_REGS", setRegs, &registers{rip: entryPoint, rflags: 2})
}

// resume runs the guest until it exits, and fails if the reason is not exit. For exitIO
// it returns what the guest wrote to answerPort.
func resume(m machine, state []byte, exit uint32) (uint32, error) {
	if _, err := call(m.vcpu, "KVM_RUN", run, 0); err != nil {
		return 0, err
	}
	// struct kvm_run: the exit reason is at 8, its details from 32 on.
	reason, detail := binary.LittleEndian.Uint32(state[8:]), state[32:]
	if reason != exit {
		return 0, describe(reason, detail)
	}
	if exit != exitIO {
		return 0, nil
	}
	out, size, port := detail[0] == 1, detail[1], binary.LittleEndian.Uint16(detail[2:])
	if !out || size != 4 || port != answerPort {
		return 0, fmt.Errorf("a guest's first output was %d bytes at port %#x", size, port)
	}
	return binary.LittleEndian.Uint32(state[binary.LittleEndian.Uint64(detail[8:]):]), nil
}

// describe returns the error for an unexpected exit of the guest.
func describe(reason uint32, detail []byte) error {
	switch reason {
	case exitInternalError:
		return fmt.Errorf("KVM fails in a guest's first instructions (internal error %d)", binary.LittleEndian.Uint32(detail))
	case exitFailEntry:
		return fmt.Errorf("KVM can't enter a guest (hardware reason %#x)", binary.LittleEndian.Uint64(detail))
	case exitShutdown:
		return fmt.Errorf("a guest's processor shuts down in its first instructions")
	}
	return fmt.Errorf("a guest stops in its first instructions (KVM exit reason %d)", reason)
}

// address returns the address of memory that mmap made.
func address(memory []byte) uint64 { return uint64(uintptr(unsafe.Pointer(&memory[0]))) }
