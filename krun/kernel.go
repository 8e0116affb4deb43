package krun

import (
	"os"
	"runtime"
	"strings"
)

// KernelFormat is the format of a kernel file.
type KernelFormat uint32

const (
	KernelRaw KernelFormat = iota
	KernelELF
	KernelPEGZ
	KernelImageBZ2
	KernelImageGZ
	KernelImageZstd
)

// Kernel is a guest kernel in place of libkrunfw's.
type Kernel struct {
	Path string // absolute
	// Format KernelRaw on x86-64 takes no Initramfs and no CmdLine, and is loaded at
	// 2 GiB: the VM must have more memory than that.
	Format    KernelFormat
	Initramfs string // absolute; "" for none
	CmdLine   string // replaces libkrun's own beginning of the kernel command line; "" keeps it
}

// SetKernel boots another kernel than libkrunfw's.
func (c *Context) SetKernel(k Kernel) error {
	return c.apply(change{
		f:    setKernel,
		args: []arg{str(k.Path), u32(k.Format), opt(k.Initramfs), opt(k.CmdLine)},
		text: map[fn]int{setKernel: len(k.CmdLine)},
		check: func(symbol string) error {
			if k.mapped() && (k.Initramfs != "" || k.CmdLine != "") {
				return invalid(symbol, "on x86-64 a raw kernel's initramfs and command line would be ignored")
			}
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
		remember: func() { c.cmdline, c.kernelEnd = k.CmdLine, k.end() },
	})
}

// mapped reports whether libkrun loads the kernel as it does libkrunfw's.
func (k Kernel) mapped() bool { return k.Format == KernelRaw && runtime.GOARCH == "amd64" }

// end is where the kernel ends in the guest's memory; 0 if not known.
func (k Kernel) end() uint64 {
	const start = 2 << 30
	if info, err := os.Stat(k.Path); err == nil && k.mapped() {
		return start + uint64(info.Size())
	}
	return 0
}

// SetFirmware boots a firmware image instead of a kernel.
func (c *Context) SetFirmware(path string) error {
	return c.apply(change{f: setFirmware, args: []arg{str(path)},
		check:    func(symbol string) error { return checkFile(symbol, path) },
		remember: func() { c.kernelEnd = 0 }})
}

// SetKernelConsole says which console gets the kernel's messages, "hvc0" or "ttyS0". It
// replaces the console= on the kernel command line; libkrun's own line has one.
func (c *Context) SetKernelConsole(console string) error {
	return c.apply(change{f: setKernelConsole, args: []arg{str(console)}, text: map[fn]int{setKernelConsole: len(console)},
		check: func(symbol string) error {
			if c.cmdline != "" && !strings.Contains(c.cmdline, "console=") {
				return invalid(symbol, "the kernel command line has no console= to replace")
			}
			return checkWord(symbol, console)
		}})
}

// checkConsoleWord checks SetKernelConsole's condition if that was called first.
func (c *Context) checkConsoleWord(symbol, cmdline string) error {
	if cmdline != "" && c.set[setKernelConsole] && !strings.Contains(cmdline, "console=") {
		return invalid(symbol, "SetKernelConsole needs a console= on the command line")
	}
	return nil
}
