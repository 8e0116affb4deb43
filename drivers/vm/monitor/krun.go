package monitor

import (
	"errors"
	"os"
	"path"

	"github.com/creack/pty"

	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/jail"
	"openshell-vm/drivers/vm/krunvm"
)

// jailRoot is, inside openshell-krun's jail, the guest's whole root.
const jailRoot = "/vm/root"

// krunInit is the guest init in that root.
const krunInit = "/openshell-init"

// krunTasks is how many threads openshell-krun may have beside one for each
// virtual CPU: libkrun has some for each device, the Go runtime a few.
const krunTasks = 64

// Krun says which files make a VM of the krun hypervisor.
type Krun struct {
	Binary   Program `json:"binary"`   // openshell-krun, its Files with both libraries
	Library  string  `json:"library"`  // libkrun
	Firmware string  `json:"firmware"` // libkrunfw
	Init     string  `json:"init"`     // openshell-init
}

// startKrun starts the one process that is the VM. It has the file server in
// it, too, so the jail's root holds what the guest sees and nothing of others.
func startKrun(m *monitor, ports portFiles) error {
	console, err := m.openConsole()
	if err != nil {
		return err
	}
	defer console.Close()
	config, err := m.krunConfig()
	if err != nil {
		return err
	}
	defer config.Close()
	if err := m.listRoot(); err != nil {
		return err
	}
	p := program{
		name: "krun", Program: m.cfg.Krun.Binary, profile: jail.Strict, proc: true,
		tasks: uint64(krunTasks + m.cfg.CPUs),
		args:  []string{krunvm.RunCommand},
		files: []*os.File{config, console, ports.stdio, ports.control}, // from krunvm.ConfigFD on
	}
	if os.Geteuid() == 0 {
		p.caps = []string{"CAP_DAC_READ_SEARCH"} // files of all users are served, each with its mode
	}
	p.tree, p.masks = composeKrun(m.cfg)
	p.tree = append(p.tree, m.cfg.kvmDevice())
	return m.start(p)
}

// openConsole makes the terminal that is the guest's console and copies what
// comes out of it into the log. Nothing is ever typed there.
func (m *monitor) openConsole() (*os.File, error) {
	ours, theirs, err := pty.Open()
	if err != nil {
		return nil, err
	}
	m.consoles.Go(func() {
		defer ours.Close()
		copyTo(m.console, ours) // ends when no process has the other end any more
	})
	return theirs, nil
}

// krunConfig is a pipe with what openshell-krun is told.
func (m *monitor) krunConfig() (*os.File, error) {
	cfg := krunvm.Config{
		Library: m.cfg.Krun.Library, Firmware: m.cfg.Krun.Firmware,
		CPUs: m.cfg.CPUs, MemoryMiB: int(m.cfg.Memory >> 20),
		Root: jailRoot, Init: krunInit,
	}
	if m.cfg.Upper != "" {
		cfg.Disk = jailUpper
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

// composeKrun puts all that the guest sees on one device, since there are few
// interrupt lines: the init, mount points for the kernel's file systems, the
// rootfs and the shares.
func composeKrun(c Config) (tree []jail.Bind, masks []string) {
	for _, dir := range []string{"dev", "proc", "sys", "run"} {
		masks = append(masks, path.Join(jailRoot, dir))
	}
	tree = append(tree, jail.Bind{Source: c.Krun.Init, Target: jailRoot + krunInit})
	tree, masks = compose(tree, masks, c.Rootfs, path.Join(jailRoot, guest.RootDir))
	shares, hidden := composeShares(c, path.Join(jailRoot, guest.SharesDir))
	tree, masks = append(tree, shares...), append(masks, hidden...)
	if c.Upper != "" {
		tree = append(tree, jail.Bind{Source: c.Upper, Target: jailUpper, Writable: true})
	}
	return tree, masks
}
