package kvm

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests of every architecture, from linux/kvm.h.
const (
	getAPIVersion = 0xae00
	createVM      = 0xae01
	createVCPU    = 0xae41

	apiVersion = 12 // the only one since 2007
)

// call makes one ioctl; name is for the error.
func call(fd int, name string, request uintptr, argument uintptr) (int, error) {
	for {
		n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, argument)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0, fmt.Errorf("%s: %w", name, errno)
		}
		return int(n), nil
	}
}

// callWith makes one ioctl with a structure.
func callWith[T any](fd int, name string, request uintptr, argument *T) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(argument)))
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return fmt.Errorf("%s: %w", name, errno)
		}
		return nil
	}
}

// machine is a VM with one virtual processor.
type machine struct{ device, vm, vcpu int }

// open makes a VM and its processor. Also after an error, close has to free what it made.
func open(device string) (machine, error) {
	m := machine{-1, -1, -1}
	var err error
	if m.device, err = unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		return m, fmt.Errorf("open %s: %w", device, err)
	}
	version, err := call(m.device, "KVM_GET_API_VERSION", getAPIVersion, 0)
	if err != nil {
		return m, err
	}
	if version != apiVersion {
		return m, fmt.Errorf("KVM has API version %d, not %d", version, apiVersion)
	}
	if m.vm, err = call(m.device, "KVM_CREATE_VM", createVM, 0); err != nil {
		return m, err
	}
	return m, prepare(&m)
}

func (m machine) close() {
	for _, fd := range []int{m.vcpu, m.vm, m.device} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}
