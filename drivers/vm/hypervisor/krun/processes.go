package krun

import (
	"errors"
	"io"
	"os"
	"path"
	"slices"

	"github.com/creack/pty"

	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/host"
	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/hypervisor/krun/krunvm"
	"openshell-vm/drivers/vm/jail"
)

// jailRoot is, inside openshell-krun's jail, the guest's whole root.
const jailRoot = "/vm/root"

// jailInit is the guest init in that root.
const jailInit = "/openshell-init"

// tasks is how many threads openshell-krun may have beside one for each
// virtual CPU: libkrun has some for each device, the Go runtime a few.
const tasks = 64

// Processes is the one process that is the VM. It has the file server in it, too,
// so the jail's root holds what the guest sees and nothing of others.
func (t *Tools) Processes(m hypervisor.Machine, ports hypervisor.Ports) ([]hypervisor.Process, error) {
	config, err := t.config(m)
	if err != nil {
		return nil, err
	}
	console, err := terminal(ports.Console)
	if err != nil {
		config.Close()
		return nil, err
	}
	root := t.compose(m)
	j := jail.Config{
		Profile: jail.Strict, Path: t.Binary.Path, Args: []string{krunvm.RunCommand}, Proc: true, Tasks: uint64(tasks + m.CPUs),
		Binds: slices.Concat(t.Binary.Files, root.Binds, m.Disk(), []jail.Bind{m.KVMDevice()}), Masks: root.Masks,
	}
	if os.Geteuid() == 0 {
		j.Caps = []string{"CAP_DAC_READ_SEARCH"} // files of all users are served, each with its mode
	}
	files := []*os.File{config, console, ports.Stdio, ports.Control} // from krunvm.ConfigFD on
	return []hypervisor.Process{{Name: Name, Jail: j, Files: files}}, nil
}

// terminal makes the terminal that is the guest's console, and copies what comes out
// of it into the port, until no process has it any more. Nothing is ever typed there.
func terminal(port *os.File) (*os.File, error) {
	ours, theirs, err := pty.Open()
	if err != nil {
		return nil, err
	}
	go func() {
		defer hypervisor.CloseAll(ours, port)
		_, _ = io.Copy(port, ours)
	}()
	return theirs, nil
}

// config is a pipe with what openshell-krun is told.
func (t *Tools) config(m hypervisor.Machine) (*os.File, error) {
	cfg := krunvm.Config{
		Library: t.Library, Firmware: t.Firmware, CPUs: m.CPUs, MemoryMiB: int(m.Memory >> 20), Root: jailRoot, Init: jailInit,
	}
	if m.Upper != "" {
		cfg.Disk = hypervisor.JailUpper
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(cfg.Write(w), w.Close()); err != nil { // far less than a pipe holds
		r.Close()
		return nil, err
	}
	return r, nil
}

// compose puts all that the guest sees on one device, since there are few
// interrupt lines: the init, mount points for the kernel's file systems, the
// rootfs and the shares.
func (t *Tools) compose(m hypervisor.Machine) (c hypervisor.Composition) {
	for _, dir := range []string{"dev", "proc", "sys", "run"} {
		c.Masks = append(c.Masks, path.Join(jailRoot, dir))
	}
	c.Add(host.Tree{Source: t.Init}, jailRoot+jailInit)
	c.Add(m.Rootfs, path.Join(jailRoot, guest.RootDir))
	c.AddShares(m, path.Join(jailRoot, guest.SharesDir))
	return c
}
