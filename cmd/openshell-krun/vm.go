package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/hypervisor/krun/krunvm"
	"openshell-vm/krun"
)

// needed are the functions of libkrun that start calls.
var needed = []string{
	"krun_add_virtiofs3",
	"krun_disable_implicit_vsock", "krun_add_virtio_console_multiport",
	"krun_add_console_port_tty", "krun_add_console_port_inout",
	"krun_disable_implicit_console", "krun_init_log", diskFunction,
	"krun_set_exec", "krun_set_vm_config", "krun_start_enter",
}

const diskFunction = "krun_add_disk2"

// usable returns nil if this libkrun has all that is needed. Else the error says what is
// missing, and which libkrun has it.
func usable(lib *krun.Library) error {
	err := lib.Require(needed...)
	var lacks *krun.Error
	if !errors.As(err, &lacks) {
		return err
	}
	switch {
	case lacks.Since != "":
		return fmt.Errorf("%s is libkrun %s, which lacks %s: %s or a later 1.x is needed",
			lib.Path(), lib.Version(), lacks.Symbol, krunvm.MinVersion)
	case lacks.Symbol == diskFunction && lacks.Err == krun.ErrUnsupported:
		return fmt.Errorf("%s was built without disks (%s is missing)", lib.Path(), lacks.Symbol)
	}
	return fmt.Errorf("%s can't be used: %w", lib.Path(), err)
}

// ports are the host's ends of the guest's console ports.
type ports struct{ console, stdio, control, network *os.File }

func inherited() ports {
	return ports{
		console: os.NewFile(krunvm.ConsoleFD, guest.PortConsole),
		stdio:   os.NewFile(krunvm.StdioFD, guest.PortStdio),
		control: os.NewFile(krunvm.ControlFD, guest.PortControl),
		network: os.NewFile(krunvm.NetworkFD, "network"),
	}
}

// start becomes the VM. It leaves nothing to libkrun's defaults: there is no console on our
// streams, no vsock and so no network by way of the host, and the environment is one
// variable.
func start(cfg krunvm.Config, p ports) error {
	if err := raiseFiles(); err != nil {
		return err
	}
	lib, err := krun.Open(krun.Options{Path: cfg.Library, Firmware: cfg.Firmware})
	if err != nil {
		return err
	}
	if err := usable(lib); err != nil {
		return err
	}
	if err := lib.InitLog(krun.Log{Level: krun.LogWarn, Style: krun.LogStyleNever, NoEnv: true}); err != nil {
		return err
	}
	vm, err := lib.NewContext()
	if err != nil {
		return err
	}
	if err := configure(vm, cfg, p); err != nil {
		return err
	}
	return vm.StartEnter()
}

func configure(vm *krun.Context, cfg krunvm.Config, p ports) error {
	for _, step := range []func() error{
		func() error { return vm.SetVMConfig(cfg.CPUs, cfg.MemoryMiB) },
		func() error { return vm.AddVirtioFS3(krun.RootTag, cfg.Root, 0, true) },
		vm.DisableImplicitVsock,
		vm.DisableImplicitConsole,
		func() error { return addPorts(vm, p) },
		func() error { return addDisk(vm, krun.Disk{ID: guest.UpperSerial, Path: cfg.Disk}) },
		func() error { return addDisk(vm, krun.Disk{ID: guest.ImageSerial, Path: cfg.Image, ReadOnly: true}) },
		func() error { return addNetwork(vm, cfg.MAC, p.network) },
		// libkrun's own init becomes ours, which then is process 1.
		func() error { return vm.SetExec(cfg.Init, nil, []string{"KRUN_INIT_PID1=1"}) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// addPorts makes the console device. The terminal comes first, so that it is hvc0: libkrun's
// kernel writes there.
func addPorts(vm *krun.Context, p ports) error {
	console, err := vm.AddVirtioConsoleMultiport()
	if err != nil {
		return err
	}
	if err := console.AddTTY(guest.PortConsole, p.console); err != nil {
		return err
	}
	if err := console.AddInOut(guest.PortStdio, p.stdio, p.stdio); err != nil {
		return err
	}
	return console.AddInOut(guest.PortControl, p.control, p.control)
}

// addDisk adds a raw disk, unless it has no path.
func addDisk(vm *krun.Context, d krun.Disk) error {
	if d.Path == "" {
		return nil
	}
	return vm.AddDisk2(d)
}

// addNetwork adds the network card. It leaves no feature to the host: the guest computes
// its own checksums.
func addNetwork(vm *krun.Context, address string, wire *os.File) error {
	if address == "" {
		return nil
	}
	mac, err := net.ParseMAC(address)
	if err != nil {
		return err
	}
	err = vm.AddNetUnixStream(krun.Net{File: wire, MAC: [6]byte(mac)})
	if errors.Is(err, krun.ErrUnsupported) {
		return fmt.Errorf("this libkrun was built without network cards (%w): --network none does without", err)
	}
	return err
}

// raiseFiles lets the file server in this process open as many files as the host allows.
// With too few descriptors it lists directories short, without an error.
func raiseFiles() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("getrlimit: %w", err)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("raise the limit of open files: %w", err)
	}
	return nil
}
