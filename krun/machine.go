package krun

import (
	"math"
	"slices"
)

// SetVMConfig sets the number of virtual CPUs, 1 to 255, and the memory in MiB.
func (c *Context) SetVMConfig(vcpus, memoryMiB int) error {
	return c.apply(change{f: setVMConfig, args: []arg{u8(vcpus), u32(memoryMiB)},
		check: func(symbol string) error {
			if vcpus < 1 || vcpus > math.MaxUint8 {
				return invalid(symbol, "%d CPUs, 1 to %d can be", vcpus, math.MaxUint8)
			}
			if memoryMiB < 1 || memoryMiB > math.MaxUint32 {
				return invalid(symbol, "%d MiB of memory", memoryMiB)
			}
			return nil
		},
		remember: func() { c.memoryMiB = uint64(memoryMiB) }})
}

// SetNestedVirt lets the guest run VMs itself, if the host's KVM can.
func (c *Context) SetNestedVirt(enabled bool) error {
	return c.apply(change{f: setNestedVirt, args: []arg{flag(enabled)}})
}

// SplitIRQChip moves part of the interrupt controller out of KVM (x86-64 only).
func (c *Context) SplitIRQChip(enable bool) error {
	return c.apply(change{f: splitIRQChip, args: []arg{flag(enable)}})
}

// SetUID makes StartEnter change the process's user just before the start.
func (c *Context) SetUID(uid uint32) error {
	return c.apply(change{f: setUID, args: []arg{u32(uid)}})
}

// SetGID makes StartEnter change the process's group just before the start.
func (c *Context) SetGID(gid uint32) error {
	return c.apply(change{f: setGID, args: []arg{u32(gid)}})
}

// SetSMBIOSOEMStrings puts OEM strings into the guest's SMBIOS tables, in place of
// earlier ones.
func (c *Context) SetSMBIOSOEMStrings(s []string) error {
	return c.apply(change{f: setSMBIOSOEMStrings, args: []arg{vec(s)},
		check: func(symbol string) error {
			if slices.Contains(s, "") {
				return invalid(symbol, "an empty string would end the table")
			}
			return nil
		}})
}

// VirglFlags are options of virglrenderer, which draws for the guest's GPU on the host.
// The names are virglrenderer's.
type VirglFlags uint32

const (
	VirglUseEGL VirglFlags = 1 << iota
	VirglThreadSync
	VirglUseGLX
	VirglUseSurfaceless
	VirglUseGLES
	VirglUseExternalBlob
	VirglVenus
	VirglNoVirgl
	VirglUseAsyncFenceCB
	VirglRenderServer
	VirglDRM
)

// SetGPUOptions adds a GPU. A libkrun without FeatureGPU accepts it and adds none.
func (c *Context) SetGPUOptions(flags VirglFlags) error {
	return c.addGPU(setGPUOptions, u32(flags))
}

// SetGPUOptions2 is SetGPUOptions with the size of the shared memory window in bytes.
func (c *Context) SetGPUOptions2(flags VirglFlags, shmSize uint64) error {
	return c.addGPU(setGPUOptions2, u32(flags), u64(shmSize))
}

func (c *Context) addGPU(f fn, args ...arg) error {
	return c.apply(change{f: f, args: args, devices: 1, once: []fn{setGPUOptions, setGPUOptions2}})
}

// SetSndDevice adds a sound device. A libkrun without FeatureSnd accepts it and
// adds none.
func (c *Context) SetSndDevice(enable bool) error {
	devices := 0
	if enable {
		devices = 1
	}
	return c.apply(change{f: setSndDevice, args: []arg{flag(enable)}, devices: devices, once: []fn{setSndDevice}})
}

// ShutdownEventFD returns a descriptor; writing to it powers the guest off. libkrun has
// one on arm64 macOS only; elsewhere the error wraps syscall.EINVAL. The descriptor
// belongs to libkrun.
func (c *Context) ShutdownEventFD() (int, error) {
	return c.applyNumber(change{f: getShutdownEventFD}, true)
}
