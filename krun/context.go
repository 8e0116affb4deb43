package krun

import (
	"os"
	"runtime"
	"slices"
	"sync"
	"unsafe"
)

// Context is one VM that is being configured. Its methods may be called
// concurrently. A method that fails leaves the configuration as it was.
type Context struct {
	lib *Library

	mu     sync.Mutex
	id     u32
	closed bool
	state
}

// state is what the checks need to know of the calls before.
type state struct {
	tags, disks, ports []string         // names in use
	devices            int              // virtio devices added by calls
	text               map[fn]int       // bytes on the kernel command line, by the call that set them
	owned              []unsafe.Pointer // C memory that the VM uses
	files              []*os.File       // descriptors that the VM uses
	set                map[fn]bool      // calls that succeeded
	tsiInet            bool             // AddVsock gave the guest the host's network
	cmdline            string           // from SetKernel
}

func newState() state { return state{text: map[fn]int{}, set: map[fn]bool{}} }

// NewContext makes a configuration context. Close or StartEnter ends it.
func (l *Library) NewContext() (*Context, error) {
	id, err := l.call(createCtx, true)
	if err != nil {
		return nil, err
	}
	return &Context{lib: l, id: u32(id), state: newState()}, nil
}

// Close frees a context that was not started. Further calls do nothing.
func (c *Context) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	err := c.lib.do(freeCtx, c.id)
	for _, p := range c.owned {
		release(p)
	}
	c.state = state{}
	return err
}

// A change is one configuring call: checks, the call, and what to remember of it.
type change struct {
	f        fn
	check    func(symbol string) error // nil: nothing but strings to check
	args     []arg
	devices  int  // virtio devices that it adds,
	once     []fn // but none when one of these was done before
	text     int  // bytes that it puts on the kernel command line
	remember func()
}

// apply makes a change, in the order gate, checks, C, memory.
func (c *Context) apply(ch change) error {
	_, err := c.applyNumber(ch, false)
	return err
}

func (c *Context) applyNumber(ch change, positive bool) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := bound[ch.f].Name
	if c.closed {
		return 0, &Error{Symbol: name, Err: ErrClosed}
	}
	if _, err := c.lib.gate(ch.f); err != nil {
		return 0, err
	}
	if err := checkStrings(name, ch.args); err != nil {
		return 0, err
	}
	if ch.check != nil {
		if err := ch.check(name); err != nil {
			return 0, err
		}
	}
	if slices.ContainsFunc(ch.once, func(f fn) bool { return c.set[f] }) {
		ch.devices = 0
	}
	if err := c.checkRoom(name, ch); err != nil {
		return 0, err
	}
	n, err := c.lib.call(ch.f, positive, append([]arg{c.id}, ch.args...)...)
	if err != nil {
		return 0, err
	}
	c.set[ch.f] = true
	c.devices += ch.devices
	c.text[ch.f] = ch.text
	if ch.remember != nil {
		ch.remember()
	}
	return n, nil
}

// checkRoom refuses devices without an interrupt line, and text that the guest
// kernel would cut off.
func (c *Context) checkRoom(symbol string, ch change) error {
	if ch.devices > 0 && c.devices+ch.devices > interruptLines()-builtinDevices {
		return invalid(symbol, "the VM would have %d virtio devices, and interrupts for %d",
			c.devices+ch.devices+builtinDevices, interruptLines())
	}
	total := ch.text
	for f, n := range c.text {
		if f != ch.f {
			total += n
		}
	}
	if ch.text > 0 && total > maxCommandLine {
		return invalid(symbol, "%d bytes for the guest's kernel command line, at most %d boot", total, maxCommandLine)
	}
	return nil
}

// builtinDevices are in every VM: the balloon and the random number generator.
const builtinDevices = 2

// implicitDevices counts what libkrun adds unless it was told not to.
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
// It returns only with an error from before the start; the context is used up
// then, too. It refuses to start a VM that would by default expose all its
// listening ports or get the host's network: call DisableImplicitVsock, or
// SetPortMap, or add a network device.
func (c *Context) StartEnter() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := bound[startEnter].Name
	if c.closed {
		return &Error{Symbol: name, Err: ErrClosed}
	}
	if err := c.checkStart(name); err != nil {
		return err
	}
	a, err := c.lib.gate(startEnter)
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c.closed = true
	keepOpen(c.files...)
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
	network := c.set[addNetUnixStream] || c.set[addNetUnixGram] || c.set[addNetTap] ||
		c.set[setPasstFD] || c.set[setGvproxyPath]
	switch {
	case c.set[setPortMap], network && !c.tsiInet:
	case !c.set[disableImplicitVsock]:
		return invalid(symbol, "without a port map, a network or DisableImplicitVsock the guest gets the host's network and all its ports are exposed")
	case c.tsiInet:
		return invalid(symbol, "AddVsock gave the guest the host's network, and without a port map all its ports are exposed")
	}
	if n := c.devices + builtinDevices + c.implicitDevices(); n > interruptLines() {
		return invalid(symbol, "the VM would have %d virtio devices, and interrupts for %d", n, interruptLines())
	}
	return nil
}

// hasRoot says whether the guest's root was given as a directory.
func (c *Context) hasRoot() bool { return slices.Contains(c.tags, rootTag) }
