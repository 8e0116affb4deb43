package qemu

import (
	"fmt"
	"strconv"
	"strings"

	"openshell-vm/drivers/vm/guest"
)

// Accel is what runs the guest's instructions.
type Accel string

// KVM uses the processor. TCG translates instructions: slower, but on any machine.
const (
	KVM Accel = "kvm"
	TCG Accel = "tcg"
)

// FDs are the inherited descriptors of a QEMU process.
type FDs struct {
	Stdio, Console, Control int   // sockets that are connected to the monitor
	Root, Shares            int   // sockets that are each connected to a virtiofsd; Root is 0 with an image
	Writable                []int // likewise
	Network                 int   // with a MAC: a socket that is connected to the network process
}

// add notes the socket of a virtio-fs device.
func (f *FDs) add(d Device, fd int) {
	switch d {
	case Root:
		f.Root = fd
	case Shares:
		f.Shares = fd
	case Writable:
		f.Writable = append(f.Writable, fd)
	}
}

// Machine describes one VM. Paths are those inside QEMU's jail.
type Machine struct {
	Arch      string // as runtime.GOARCH
	Accel     Accel
	CPUs      int
	Memory    int64 // bytes, whole MiB
	Kernel    string
	Initramfs string
	Upper     string // raw disk image; "" for none
	Image     string // read-only disk image that is the root; "" for none
	MAC       string // of the network card; "" for none
	FDs       FDs
}

// QueueSize is how many requests a guest may have under way to its disk. QEMU's default
// is 256 for each processor. A QEMU that is frozen to save the host's disk still writes
// all requests that are under way, of 1 MiB or more each.
const QueueSize = 16

// Binary returns the name of the system emulator for an architecture, and the Debian
// package that has it.
func Binary(arch string) (program, pkg string) {
	switch arch {
	case "arm64":
		return "qemu-system-aarch64", "qemu-system-arm"
	default:
		return "qemu-system-x86_64", "qemu-system-x86"
	}
}

// Args returns QEMU's command line after the program's name.
func (m Machine) Args() []string {
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-machine", m.machine() + ",memory-backend=mem",
		"-accel", m.accel(), "-cpu", m.cpu(),
		"-smp", strconv.Itoa(m.CPUs),
		"-m", m.mebibytes(),
		"-object", "memory-backend-memfd,id=mem,share=on,size=" + m.mebibytes(),
		"-kernel", m.Kernel, "-initrd", m.Initramfs, "-append", m.CommandLine(),
		"-device", "virtio-rng-pci",
	}
	args = append(args, m.network()...)
	args = append(args, m.ports()...)
	if m.FDs.Root != 0 {
		args = append(args, fsDevice("fs-root", guest.TagRoot, m.FDs.Root)...)
	}
	args = append(args, fsDevice("fs-shares", guest.TagShares, m.FDs.Shares)...)
	for i, fd := range m.FDs.Writable {
		args = append(args, fsDevice("fs-"+guest.WritableTag(i), guest.WritableTag(i), fd)...)
	}
	if m.Upper != "" {
		args = append(args,
			"-drive", "if=none,id=upper,format=raw,discard=unmap,detect-zeroes=unmap,file="+escape(m.Upper),
			"-device", fmt.Sprintf("virtio-blk-pci,drive=upper,num-queues=1,queue-size=%d,serial=%s", QueueSize, guest.UpperSerial))
	}
	if m.Image != "" {
		args = append(args,
			"-drive", "if=none,id=image,format=raw,readonly=on,file="+escape(m.Image),
			"-device", fmt.Sprintf("virtio-blk-pci,drive=image,num-queues=1,serial=%s", guest.ImageSerial))
	}
	return args
}

// machine chooses the board. q35 boots as quickly as microvm. On a loaded host microvm
// has no timer by which the kernel could measure its clock: nine boots of twenty hung.
// Devices that no guest of ours needs are off.
func (m Machine) machine() string {
	if m.Arch == "arm64" {
		return "virt,gic-version=max"
	}
	return "q35,sata=off,smbus=off,usb=off,vmport=off,graphics=off,smm=off,i8042=off"
}

func (m Machine) accel() string {
	if m.Accel == TCG {
		return "tcg,thread=multi"
	}
	return string(m.Accel)
}

func (m Machine) cpu() string {
	if m.Accel == TCG {
		return "max"
	}
	return "host"
}

// CommandLine returns the guest kernel's command line. It does not say what to run. The
// console is the serial port: on any other, a kernel that hangs before it has loaded its
// virtio modules would say nothing.
func (m Machine) CommandLine() string {
	if m.Arch == "arm64" {
		return "console=ttyAMA0 quiet loglevel=4 panic=-1"
	}
	// edd and the crypto self-tests cost half a second on an emulated processor. The
	// timer check counts ticks; a busy host sometimes does not deliver them in time, and
	// the kernel panics.
	return "console=ttyS0 quiet loglevel=4 panic=-1 8250.nr_uarts=1 edd=off cryptomgr.notests no_timer_check"
}

func (m Machine) mebibytes() string { return fmt.Sprintf("%dM", m.Memory>>20) }

// network returns the options for the network card. It has no ROM to boot from: the jail
// has none.
func (m Machine) network() []string {
	if m.MAC == "" {
		return []string{"-nic", "none"}
	}
	return []string{
		"-netdev", fmt.Sprintf("stream,id=net,server=off,addr.type=fd,addr.str=%d", m.FDs.Network),
		"-device", "virtio-net-pci,netdev=net,romfile=,mac=" + m.MAC,
	}
}

// ports returns the options for the serial console, and for one virtio console device
// with two named ports.
func (m Machine) ports() []string {
	return []string{
		"-chardev", socket(guest.PortConsole, m.FDs.Console),
		"-serial", "chardev:" + guest.PortConsole,
		"-device", "virtio-serial-pci",
		"-chardev", socket(guest.PortStdio, m.FDs.Stdio),
		"-device", "virtserialport,chardev=" + guest.PortStdio + ",name=" + guest.PortStdio,
		"-chardev", socket(guest.PortControl, m.FDs.Control),
		"-device", "virtserialport,chardev=" + guest.PortControl + ",name=" + guest.PortControl,
	}
}

func socket(id string, fd int) string { return fmt.Sprintf("socket,id=%s,fd=%d", id, fd) }

func fsDevice(id, tag string, fd int) []string {
	return []string{
		"-chardev", socket(id, fd),
		"-device", "vhost-user-fs-pci,chardev=" + id + ",tag=" + tag,
	}
}

// escape doubles commas: a single one would end the option's value.
func escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }
