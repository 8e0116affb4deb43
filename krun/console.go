package krun

import (
	"os"
	"runtime"
	"slices"
)

// DisableImplicitConsole leaves out the console that libkrun otherwise adds on
// the process's standard streams.
func (c *Context) DisableImplicitConsole() error {
	return c.apply(change{f: disableImplicitConsole})
}

// SetConsoleOutput makes a file that gets the implicit console's output. It has no
// effect on other consoles.
func (c *Context) SetConsoleOutput(path string) error {
	return c.apply(change{f: setConsoleOutput, args: []arg{str(path)},
		check: func(symbol string) error { return checkAbsolute(symbol, path) }})
}

// AddVirtioConsoleDefault adds a console. Terminals become the console itself. Other
// files become ports named krun-stdin, krun-stdout and krun-stderr, which libkrun's init
// connects to the command. Any of them may be nil.
func (c *Context) AddVirtioConsoleDefault(in, out, errs *os.File) error {
	return c.apply(change{f: addVirtioConsoleDefault, args: []arg{file{in}, file{out}, file{errs}}, devices: 1})
}

// maxSerial is how many serial ports an x86-64 machine connects. libkrun silently leaves
// further ones unconnected.
const maxSerial = 4

// AddSerialConsoleDefault adds a serial port: /dev/ttyS0, then /dev/ttyS1. Either file
// may be nil.
func (c *Context) AddSerialConsoleDefault(in, out *os.File) error {
	return c.apply(change{f: addSerialConsoleDefault, args: []arg{file{in}, file{out}},
		check: func(symbol string) error {
			if c.serials == maxSerial && runtime.GOARCH == "amd64" {
				return invalid(symbol, "a VM has %d serial ports at most", maxSerial)
			}
			return nil
		},
		remember: func() { c.serials++ }})
}

// Console is a console device with ports. It needs at least one before the start.
type Console struct {
	vm    *Context
	id    u32
	ports int
}

// AddVirtioConsoleMultiport adds a console device without ports. To the kernel only a
// terminal port (AddTTY) is a console, hvc0. The other ports are plain streams that the
// guest finds by name under /sys/class/virtio-ports.
func (c *Context) AddVirtioConsoleMultiport() (*Console, error) {
	console := &Console{vm: c}
	id, err := c.applyNumber(change{f: addVirtioConsoleMultiport, devices: 1,
		remember: func() { c.consoles = append(c.consoles, console) }}, true)
	if err != nil {
		return nil, err
	}
	console.id = u32(id)
	return console, nil
}

// AddTTY adds a port on a terminal, which libkrun puts into raw mode at the start.
func (c *Console) AddTTY(name string, tty *os.File) error {
	return c.addPort(addConsolePortTTY, name, []*os.File{tty}, "a terminal")
}

// AddInOut adds a port that reads its input from one file and writes its output to
// another. The files may be the same, and one of them may be nil.
func (c *Console) AddInOut(name string, in, out *os.File) error {
	return c.addPort(addConsolePortInOut, name, []*os.File{in, out}, "input or output")
}

func (c *Console) addPort(f fn, name string, files []*os.File, needed string) error {
	args := []arg{c.id, str(name)}
	for _, f := range files {
		args = append(args, file{f})
	}
	return c.vm.apply(change{f: f, args: args,
		check: func(symbol string) error {
			if name != "" && slices.Contains(c.vm.ports, name) {
				return invalid(symbol, "the port name %q is in use", name)
			}
			if !slices.ContainsFunc(files, func(f *os.File) bool { return f != nil }) {
				return invalid(symbol, "a port without %s", needed)
			}
			return nil
		},
		remember: func() {
			c.vm.ports = append(c.vm.ports, name)
			c.ports++
		},
	})
}
