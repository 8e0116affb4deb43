package krun

import (
	"errors"
	"io"
	"os"
	"path"
	"slices"

	"github.com/creack/pty"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/hypervisor/krun/krunvm"
	"openshell-vm/drivers/vm/jail"
)

// jailRoot is the guest's whole root, inside openshell-krun's jail.
const jailRoot = "/vm/root"

// jailInit is the guest init in that root.
const jailInit = "/openshell-init"

// tasks is how many threads openshell-krun may have beside one for each virtual CPU.
// libkrun has some for each device, and the Go runtime a few.
const tasks = 64

// Processes returns the one process that is the VM. The file server is in it, too, so
// the jail's root has what the guest sees, and nothing of other sandboxes.
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
		Binds: slices.Concat(t.Binary.Files, root.Binds, m.Disks(), []jail.Bind{m.KVMDevice()}), Masks: root.Masks,
	}
	if os.Geteuid() == 0 {
		j.Caps = []string{"CAP_DAC_READ_SEARCH"} // to serve the files of all users, whatever their modes
	}
	files := []*os.File{config, console, ports.Stdio, ports.Control} // from krunvm.ConfigFD on
	if ports.Network != nil {
		files = append(files, ports.Network)
	}
	return []hypervisor.Process{{Name: Name, Jail: j, Files: files}}, nil
}

// terminal makes the terminal that is the guest's console. It copies the output into the
// port until no process has the terminal any more. Nothing is ever typed there.
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

// config returns a pipe with openshell-krun's configuration.
func (t *Tools) config(m hypervisor.Machine) (*os.File, error) {
	cfg := krunvm.Config{
		Library: t.Library, Firmware: t.Firmware, CPUs: m.CPUs, MemoryMiB: int(m.Memory >> 20), Root: jailRoot, Init: jailInit,
	}
	cfg.MAC = m.MAC
	if m.Upper != "" {
		cfg.Disk = hypervisor.JailUpper
	}
	if m.Image != "" {
		cfg.Image = hypervisor.JailImage
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(cfg.Write(w), w.Close()); err != nil { // it fits into a pipe, so Write does not block
		r.Close()
		return nil, err
	}
	return r, nil
}

// compose puts all that the guest sees on one device: the init, mount points for the
// kernel's file systems, the rootfs and the shares. Interrupt lines are too few for
// several devices.
func (t *Tools) compose(m hypervisor.Machine) (c hypervisor.Composition) {
	for _, dir := range []string{"dev", "proc", "sys", "run"} {
		c.Masks = append(c.Masks, path.Join(jailRoot, dir))
	}
	c.Add(drivers.Tree{Source: t.Init}, jailRoot+jailInit)
	if m.Image == "" {
		c.Add(m.Rootfs, path.Join(jailRoot, guest.RootDir))
	}
	c.AddShares(m, path.Join(jailRoot, guest.SharesDir))
	return c
}
