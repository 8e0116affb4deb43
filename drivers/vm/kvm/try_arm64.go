package kvm

// Requests of arm64, from linux/kvm.h.
const (
	armVCPUInit        = 0x4020aeae
	armPreferredTarget = 0x8020aeaf
)

type vcpuInit struct {
	target   uint32
	features [7]uint32
}

// prepare makes the VM's processor, of this machine's own kind.
func prepare(m *machine) error {
	var target vcpuInit
	if err := callWith(m.vm, "KVM_ARM_PREFERRED_TARGET", armPreferredTarget, &target); err != nil {
		return err
	}
	var err error
	if m.vcpu, err = call(m.vm, "KVM_CREATE_VCPU", createVCPU, 0); err != nil {
		return err
	}
	return callWith(m.vcpu, "KVM_ARM_VCPU_INIT", armVCPUInit, &target)
}

// try makes a VM with a processor; see the package comment.
func try(device string) error {
	m, err := open(device)
	defer m.close()
	return err
}
