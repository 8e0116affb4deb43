package krun

import (
	"maps"
	"slices"
	"sync"
	"unsafe"
)

// Context is the configuration of one VM. NewContext makes it; the zero value is of no
// use. Its methods may be called concurrently. A method that fails changes nothing.
type Context struct {
	lib *Library

	mu     sync.Mutex
	id     u32
	closed bool
	state
}

// state is what the checks need to know of earlier calls, and what the VM uses.
type state struct {
	tags, disks, ports []string         // names in use
	overlays           []overlayName    // entries put over shares
	vsockPorts         []uint32         // connected to sockets
	consoles           []*Console       // each must get a port
	serials            int              // serial ports added
	devices            int              // virtio devices added by calls
	memoryMiB          uint64           // from SetVMConfig
	kernelEnd          uint64           // where the kernel ends in the guest's memory; 0 if not known
	text               map[fn]int       // bytes on the kernel command line, by the call that put them there
	set                map[fn]bool      // calls that succeeded
	tsiInet            bool             // AddVsock gave the guest the host's network
	cmdline            string           // from SetKernel
	owned              []unsafe.Pointer // C memory that the VM uses
	descriptors        []int            // duplicates that the VM uses
}

func newState() state { return state{text: map[fn]int{}, set: map[fn]bool{}} }

// NewContext makes a configuration context. Close or StartEnter ends it.
func (l *Library) NewContext() (*Context, error) {
	id, err := l.call(createCtx, true)
	if err != nil {
		return nil, err
	}
	c := &Context{lib: l, id: u32(id), state: newState()}
	c.kernelEnd = l.kernelEnd
	return c, nil
}

// Close frees a context that was not started. Further calls do nothing.
func (c *Context) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	if err := c.lib.do(freeCtx, c.id); err != nil {
		return err // C may still use what the Context owns
	}
	for _, p := range c.owned {
		release(p)
	}
	shutAll(c.descriptors)
	c.state = state{}
	return nil
}

// A change is one configuring call: its checks, the call, and what to remember of it.
type change struct {
	f        fn
	check    func(symbol string) error // nil if only strings are to check
	args     []arg
	devices  int        // virtio devices that it adds
	once     []fn       // it adds none if one of these was done before
	text     map[fn]int // bytes that it puts on the kernel command line, replacing those of the same call
	remember func()
}

// apply makes a change: it checks, calls C, and remembers the change.
func (c *Context) apply(ch change) error {
	_, err := c.applyNumber(ch, false)
	return err
}

func (c *Context) applyNumber(ch change, positive bool) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := bound[ch.f].Name
	if slices.ContainsFunc(ch.once, func(f fn) bool { return c.set[f] }) {
		ch.devices = 0
	}
	if err := c.checkChange(name, ch); err != nil {
		return 0, err
	}
	args := append([]arg{c.id}, ch.args...)
	made, err := duplicateFiles(name, args)
	if err != nil {
		return 0, err
	}
	n, err := c.lib.call(ch.f, positive, args...)
	if err != nil {
		shutAll(made)
		return 0, err
	}
	c.descriptors = append(c.descriptors, made...)
	c.set[ch.f] = true
	c.devices += ch.devices
	maps.Copy(c.text, ch.text)
	if ch.remember != nil {
		ch.remember()
	}
	return n, nil
}

// checkChange makes all checks that come before the call to C.
func (c *Context) checkChange(symbol string, ch change) error {
	if c.closed {
		return &Error{Symbol: symbol, Err: ErrClosed}
	}
	if _, err := c.lib.gate(ch.f); err != nil {
		return err
	}
	if err := checkStrings(symbol, ch.args); err != nil {
		return err
	}
	if ch.check != nil {
		if err := ch.check(symbol); err != nil {
			return err
		}
	}
	return c.checkRoom(symbol, ch)
}

// checkRoom refuses devices that would get no interrupt line, and text that the guest's
// kernel would cut off.
func (c *Context) checkRoom(symbol string, ch change) error {
	if ch.devices > 0 && c.devices+ch.devices > interruptLines()-builtinDevices {
		return invalid(symbol, "the VM would have %d virtio devices, and interrupts for %d",
			c.devices+ch.devices+builtinDevices, interruptLines())
	}
	text := maps.Clone(c.text)
	maps.Copy(text, ch.text)
	total := 0
	for _, n := range text {
		total += n
	}
	if len(ch.text) > 0 && total > maxCommandLine {
		return invalid(symbol, "%d bytes for the guest's kernel command line, at most %d boot", total, maxCommandLine)
	}
	return nil
}

// builtinDevices are in every VM: the balloon and the random number generator.
const builtinDevices = 2

// implicitDevices counts the devices that libkrun adds unless it is told not to.
func (c *Context) implicitDevices() int {
	n := 0
	if !c.set[disableImplicitConsole] {
		n++
	}
	if !c.set[disableImplicitVsock] {
		n++
	}
	return n
}

// StartEnter turns the process into the VM and NEVER RETURNS when the VM has
// started: libkrun calls exit() with the workload's code, so no deferred call runs
// and no other goroutine goes on. 125, 126 and 127 mean that libkrun's own init
// failed, could not execute the command, or did not find it.
//
// It returns only if the VM did not start. After an ErrInvalid the Context can be mended
// and started again; after any other error it is used up.
//
// It refuses a VM without a size, an environment or a choice of network. The choice is
// DisableImplicitVsock, then AddVsock or a network device if wanted; AddVsock with
// TSIInet also needs SetPortMap. A libkrun before 1.17 has no DisableImplicitVsock: it
// needs SetPortMap or a network device.
func (c *Context) StartEnter() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := bound[startEnter].Name
	if c.closed {
		return &Error{Symbol: name, Err: ErrClosed}
	}
	a, err := c.lib.gate(startEnter)
	if err != nil {
		return err
	}
	if err := c.checkStart(name); err != nil {
		return err
	}
	c.closed = true
	ret := invoke(a, c.id)
	if _, err := result(name, ret, false); err != nil {
		return err
	}
	return &Error{Symbol: name, Err: ErrProtocol, Detail: "it returned 0, but it never returns from a VM that ran"}
}

// checkStart looks at the configuration as a whole.
func (c *Context) checkStart(symbol string) error {
	if !c.set[setVMConfig] {
		return invalid(symbol, "SetVMConfig was not called")
	}
	if !c.set[setExec] && !c.set[setEnv] {
		return invalid(symbol, "neither SetExec nor SetEnv gave an environment")
	}
	if err := c.checkExposure(symbol); err != nil {
		return err
	}
	for _, console := range c.consoles {
		if console.ports == 0 {
			return invalid(symbol, "a console without ports")
		}
	}
	if needed := (c.kernelEnd + 1<<20 - 1) >> 20; c.memoryMiB < needed {
		return invalid(symbol, "the guest's kernel does not fit into %d MiB of memory, %d at least are needed", c.memoryMiB, needed)
	}
	if n := c.devices + builtinDevices + c.implicitDevices(); n > interruptLines() {
		return invalid(symbol, "the VM would have %d virtio devices, and interrupts for %d", n, interruptLines())
	}
	return nil
}

// checkExposure refuses a VM to which libkrun itself would give a vsock device with the
// host's network, or whose ports it would all expose.
func (c *Context) checkExposure(symbol string) error {
	switch {
	case c.set[disableImplicitVsock]:
		if c.tsiInet && !c.set[setPortMap] {
			return invalid(symbol, "AddVsock gave the guest the host's network, and without SetPortMap all its ports are exposed")
		}
	case c.lib.addresses[disableImplicitVsock] != nil:
		return invalid(symbol, "without DisableImplicitVsock libkrun chooses itself whether the guest gets the host's network")
	case !c.set[setPortMap] && !c.hasNetwork():
		return invalid(symbol, "without SetPortMap or a network device all the guest's ports are exposed")
	}
	return nil
}

// hasNetwork reports whether a network device was added.
func (c *Context) hasNetwork() bool {
	return c.set[addNetUnixStream] || c.set[addNetUnixGram] || c.set[addNetTap] ||
		c.set[setPasstFD] || c.set[setGvproxyPath]
}

// hasRoot reports whether the guest has a root.
func (c *Context) hasRoot() bool { return slices.Contains(c.tags, rootTag) }
