package krun

import (
	"os"
	"slices"
)

// DisableImplicitConsole leaves out the console that libkrun otherwise adds on
// the process's standard streams.
func (c *Context) DisableImplicitConsole() error {
	return c.apply(change{f: disableImplicitConsole})
}

// SetConsoleOutput sends the implicit console's output to a file, which is made.
func (c *Context) SetConsoleOutput(path string) error {
	return c.apply(change{f: setConsoleOutput, args: []arg{str(path)},
		check: func(symbol string) error { return checkAbsolute(symbol, path) }})
}

// AddVirtioConsoleDefault adds a console. Terminals become the console itself;
// other files become ports named krun-stdin, krun-stdout and krun-stderr, which
// libkrun's init connects to the command. Any of them may be nil.
func (c *Context) AddVirtioConsoleDefault(in, out, err *os.File) error {
	return c.addConsole(addVirtioConsoleDefault, 1, in, out, err)
}

// AddSerialConsoleDefault adds a serial port, /dev/ttyS0 and so on. Either may be nil.
func (c *Context) AddSerialConsoleDefault(in, out *os.File) error {
	return c.addConsole(addSerialConsoleDefault, 0, in, out)
}

func (c *Context) addConsole(f fn, devices int, files ...*os.File) error {
	args, err := descriptors(bound[f].Name, files...)
	if err != nil {
		return err
	}
	return c.apply(change{f: f, args: args, devices: devices, remember: func() { c.hold(files...) }})
}

func descriptors(symbol string, files ...*os.File) ([]arg, error) {
	var args []arg
	for _, file := range files {
		fd, err := descriptor(symbol, file)
		if err != nil {
			return nil, err
		}
		args = append(args, fd)
	}
	return args, nil
}

// Console is a console device with ports.
type Console struct {
	c  *Context
	id uint32
}

// AddVirtioConsoleMultiport adds a console device without ports. Only a
// terminal port (AddTTY) is a console to the kernel, hvc0; the others are plain
// streams that the guest finds by name under /sys/class/virtio-ports.
func (c *Context) AddVirtioConsoleMultiport() (*Console, error) {
	console := &Console{c: c}
	id, err := c.applyNumber(change{f: addVirtioConsoleMultiport, devices: 1}, true)
	if err != nil {
		return nil, err
	}
	console.id = uint32(id)
	return console, nil
}

// AddTTY adds a port on a terminal. libkrun puts the terminal into raw mode
// and aborts on descriptor 0, which is therefore refused.
func (p *Console) AddTTY(name string, tty *os.File) error {
	symbol := bound[addConsolePortTTY].Name
	fd, err := descriptor(symbol, tty)
	if err != nil {
		return err
	}
	return p.addPort(addConsolePortTTY, name, []arg{fd}, []*os.File{tty}, func() error {
		if fd <= 0 {
			return invalid(symbol, "descriptor %d cannot be a port's terminal", fd)
		}
		return nil
	})
}

// AddInOut adds a port that takes its input from one file and gives its output
// to another, which may be the same one, or nil for none.
func (p *Console) AddInOut(name string, in, out *os.File) error {
	symbol := bound[addConsolePortInOut].Name
	args, err := descriptors(symbol, in, out)
	if err != nil {
		return err
	}
	return p.addPort(addConsolePortInOut, name, args, []*os.File{in, out}, func() error {
		if in == nil && out == nil {
			return invalid(symbol, "a port without input and output")
		}
		return nil
	})
}

func (p *Console) addPort(f fn, name string, fds []arg, files []*os.File, check func() error) error {
	c := p.c
	return c.apply(change{
		f:    f,
		args: append([]arg{u32(p.id), str(name)}, fds...),
		check: func(symbol string) error {
			if name != "" && slices.Contains(c.ports, name) {
				return invalid(symbol, "the port name %q is in use", name)
			}
			return check()
		},
		remember: func() {
			c.ports = append(c.ports, name)
			c.hold(files...)
		},
	})
}
