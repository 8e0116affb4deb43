package krun

import (
	"math"
	"strings"
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
		}})
}

// SetNestedVirt lets the guest run VMs itself, where the host's KVM can.
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

// SetSMBIOSOEMStrings gives the guest OEM strings in its SMBIOS tables. None
// removes those that were set.
func (c *Context) SetSMBIOSOEMStrings(s []string) error {
	return c.apply(change{f: setSMBIOSOEMStrings, args: []arg{vec(s)}})
}

// SetGPUOptions adds a GPU with the given virglrenderer flags.
func (c *Context) SetGPUOptions(virglFlags uint32) error {
	return c.addGPU(setGPUOptions, u32(virglFlags))
}

// SetGPUOptions2 is SetGPUOptions with the size of the GPU's shared memory window
// in bytes.
func (c *Context) SetGPUOptions2(virglFlags uint32, shmSize uint64) error {
	return c.addGPU(setGPUOptions2, u32(virglFlags), u64(shmSize))
}

func (c *Context) addGPU(f fn, args ...arg) error {
	return c.apply(change{f: f, args: args, devices: 1, once: []fn{setGPUOptions, setGPUOptions2}})
}

// SetSndDevice adds a sound device.
func (c *Context) SetSndDevice(enable bool) error {
	devices := 0
	if enable {
		devices = 1
	}
	return c.apply(change{f: setSndDevice, args: []arg{flag(enable)}, devices: devices, once: []fn{setSndDevice}})
}

// ShutdownEventFD gives a descriptor that powers the guest off when it is
// written to. libkrun has it on arm64 macOS only; elsewhere the error wraps
// syscall.EINVAL. The descriptor belongs to libkrun.
func (c *Context) ShutdownEventFD() (int, error) {
	return c.applyNumber(change{f: getShutdownEventFD}, true)
}

// KernelFormat is the format of a kernel file.
type KernelFormat uint32

// The formats.
const (
	KernelRaw KernelFormat = iota
	KernelELF
	KernelPEGZ
	KernelImageBZ2
	KernelImageGZ
	KernelImageZstd
)

// Kernel is a guest kernel that takes the place of libkrunfw's.
type Kernel struct {
	Path      string // absolute
	Format    KernelFormat
	Initramfs string // absolute; "" for none
	// CmdLine replaces libkrun's own beginning of the kernel command line;
	// "" leaves it.
	CmdLine string
}

// SetKernel boots another kernel than libkrunfw's.
func (c *Context) SetKernel(k Kernel) error {
	return c.apply(change{
		f:    setKernel,
		args: []arg{str(k.Path), u32(k.Format), opt(k.Initramfs), opt(k.CmdLine)},
		text: len(k.CmdLine),
		check: func(symbol string) error {
			if k.Initramfs != "" {
				if err := checkFile(symbol, k.Initramfs); err != nil {
					return err
				}
			}
			if err := c.checkConsoleWord(symbol, k.CmdLine); err != nil {
				return err
			}
			if err := checkQuoted(symbol, strings.ReplaceAll(k.CmdLine, `"`, "")); err != nil {
				return err
			}
			return checkFile(symbol, k.Path)
		},
		remember: func() { c.cmdline = k.CmdLine },
	})
}

// SetFirmware boots a firmware image instead of a kernel.
func (c *Context) SetFirmware(path string) error {
	return c.apply(change{f: setFirmware, args: []arg{str(path)},
		check: func(symbol string) error { return checkFile(symbol, path) }})
}

// SetKernelConsole says which console gets the kernel's messages, "hvc0" or
// "ttyS0". The kernel command line must have a console= to replace, which
// libkrun's own has.
func (c *Context) SetKernelConsole(console string) error {
	return c.apply(change{f: setKernelConsole, args: []arg{str(console)}, text: len(console),
		check: func(symbol string) error {
			if c.cmdline != "" && !strings.Contains(c.cmdline, "console=") {
				return invalid(symbol, "the kernel command line has no console= to replace")
			}
			return checkWord(symbol, console)
		}})
}

// checkConsoleWord is SetKernelConsole's condition, for the other order of calls.
func (c *Context) checkConsoleWord(symbol, cmdline string) error {
	if cmdline != "" && c.set[setKernelConsole] && !strings.Contains(cmdline, "console=") {
		return invalid(symbol, "SetKernelConsole needs a console= on the command line")
	}
	return nil
}
