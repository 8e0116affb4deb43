package krun

import (
	"fmt"
	"os"
)

// PortMapping makes a guest's TCP port reachable on the host's.
type PortMapping struct {
	Host, Guest uint16
}

// SetPortMap says which of the guest's listening ports the host exposes. Nil is
// an empty map, which exposes none; without this call libkrun exposes all.
func (c *Context) SetPortMap(ports []PortMapping) error {
	var entries []string
	for _, p := range ports {
		entries = append(entries, fmt.Sprintf("%d:%d", p.Host, p.Guest))
	}
	return c.apply(change{f: setPortMap, args: []arg{vec(entries)},
		check: func(symbol string) error {
			host, guest := map[uint16]bool{}, map[uint16]bool{}
			for _, p := range ports {
				if p.Host == 0 || p.Guest == 0 || host[p.Host] || guest[p.Guest] {
					return invalid(symbol, "%d:%d has a port that is 0 or mapped twice", p.Host, p.Guest)
				}
				host[p.Host], guest[p.Guest] = true, true
			}
			return nil
		}})
}

// TSI says which of the guest's sockets libkrun opens on the host instead
// (transparent socket impersonation).
type TSI uint32

// The families.
const (
	TSINone TSI = 0
	TSIInet TSI = 1
	TSIUnix TSI = 2
)

// DisableImplicitVsock leaves out the vsock device that libkrun otherwise adds,
// with TSI for IP sockets when there is no network device.
func (c *Context) DisableImplicitVsock() error {
	return c.apply(change{f: disableImplicitVsock})
}

// AddVsock adds a vsock device; DisableImplicitVsock must come first.
func (c *Context) AddVsock(features TSI) error {
	return c.apply(change{f: addVsock, args: []arg{u32(features)}, devices: 1,
		check: func(symbol string) error {
			if !c.set[disableImplicitVsock] {
				return invalid(symbol, "DisableImplicitVsock was not called")
			}
			return nil
		},
		remember: func() { c.tsiInet = features&TSIInet != 0 }})
}

// AddVsockPort connects a vsock port of the guest to the unix socket at path, on
// which a host process listens.
func (c *Context) AddVsockPort(port uint32, path string) error {
	return c.apply(change{f: addVsockPort, args: []arg{u32(port), str(path)},
		check: func(symbol string) error { return checkSocketPath(symbol, path) }})
}

// AddVsockPort2 is AddVsockPort; with listen libkrun makes the socket, whose
// path must not exist, and the guest listens.
func (c *Context) AddVsockPort2(port uint32, path string, listen bool) error {
	return c.apply(change{f: addVsockPort2, args: []arg{u32(port), str(path), flag(listen)},
		check: func(symbol string) error { return checkSocketPath(symbol, path) }})
}

// Flags of a network device.
const (
	NetVfkit      uint32 = 1 << 0 // greet as vfkit does; AddNetUnixGram with a path
	NetDHCPClient uint32 = 1 << 1 // libkrun's init asks for an address
)

// Offloads of a network device, as virtio-net numbers them.
const (
	NetCSUM      uint32 = 1 << 0
	NetGuestCSUM uint32 = 1 << 1
	NetGuestTSO4 uint32 = 1 << 7
	NetGuestTSO6 uint32 = 1 << 8
	NetGuestUFO  uint32 = 1 << 10
	NetHostTSO4  uint32 = 1 << 11
	NetHostTSO6  uint32 = 1 << 12
	NetHostUFO   uint32 = 1 << 14
)

// Net is a network device. Its backend is a socket: either the path of one to
// connect to, or a connected one.
type Net struct {
	Path     string
	File     *os.File
	MAC      [6]byte
	Features uint32 // offloads
	Flags    uint32
}

// AddNetUnixStream adds a network device on a stream socket, as passt and
// socket_vmnet have them.
func (c *Context) AddNetUnixStream(n Net) error { return c.addNet(addNetUnixStream, n) }

// AddNetUnixGram adds a network device on a datagram socket, as gvproxy has it.
func (c *Context) AddNetUnixGram(n Net) error { return c.addNet(addNetUnixGram, n) }

func (c *Context) addNet(f fn, n Net) error {
	fd, err := descriptor(bound[f].Name, n.File)
	if err != nil {
		return err
	}
	return c.apply(change{
		f:       f,
		args:    []arg{opt(n.Path), fd, mac(n.MAC), u32(n.Features), u32(n.Flags)},
		devices: 1,
		check: func(symbol string) error {
			if (n.Path == "") == (n.File == nil) {
				return invalid(symbol, "give either a path or a file")
			}
			if err := checkMAC(symbol, n.MAC); err != nil || n.Path == "" {
				return err
			}
			return checkSocketPath(symbol, n.Path)
		},
		remember: func() { c.hold(n.File) },
	})
}

// Tap is a network device on a tap interface of the host.
type Tap struct {
	Name     string
	MAC      [6]byte
	Features uint32
	Flags    uint32
}

// AddNetTap adds a network device on a tap interface (Linux only).
func (c *Context) AddNetTap(t Tap) error {
	return c.apply(change{
		f:       addNetTap,
		args:    []arg{str(t.Name), mac(t.MAC), u32(t.Features), u32(t.Flags)},
		devices: 1,
		check: func(symbol string) error {
			if t.Name == "" || len(t.Name) > 15 {
				return invalid(symbol, "an interface's name has 1 to 15 bytes, %q not", t.Name)
			}
			return checkMAC(symbol, t.MAC)
		},
	})
}

// checkMAC refuses addresses that a guest's interface cannot have.
func checkMAC(symbol string, m [6]byte) error {
	if m == [6]byte{} || m[0]&1 != 0 {
		return invalid(symbol, "%x is no unicast MAC address", m)
	}
	return nil
}

// SetPasstFD is deprecated in libkrun: use AddNetUnixStream.
func (c *Context) SetPasstFD(f *os.File) error {
	fd, err := descriptor(bound[setPasstFD].Name, f)
	if err != nil {
		return err
	}
	return c.apply(change{f: setPasstFD, args: []arg{fd}, devices: 1, once: legacyNet,
		check: func(symbol string) error {
			if f == nil {
				return invalid(symbol, "no file")
			}
			return nil
		},
		remember: func() { c.hold(f) }})
}

// SetGvproxyPath is deprecated in libkrun: use AddNetUnixGram.
func (c *Context) SetGvproxyPath(path string) error {
	return c.apply(change{f: setGvproxyPath, args: []arg{str(path)}, devices: 1, once: legacyNet,
		check: func(symbol string) error { return checkSocketPath(symbol, path) }})
}

// legacyNet are two calls for one device.
var legacyNet = []fn{setPasstFD, setGvproxyPath}

// SetNetMAC sets the MAC address for SetPasstFD and SetGvproxyPath.
func (c *Context) SetNetMAC(m [6]byte) error {
	return c.apply(change{f: setNetMAC, args: []arg{mac(m)},
		check: func(symbol string) error { return checkMAC(symbol, m) }})
}

// hold keeps a file that the VM uses reachable.
func (c *Context) hold(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			c.files = append(c.files, f)
		}
	}
}
