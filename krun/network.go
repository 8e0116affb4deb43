package krun

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// PortMapping makes a guest's TCP port reachable on a port of the host.
type PortMapping struct {
	Host, Guest uint16
}

// SetPortMap says which of the guest's listening ports the host exposes. Nil exposes
// none. Without this call libkrun exposes all.
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

const (
	TSINone TSI = 0
	TSIInet TSI = 1
	TSIUnix TSI = 2
)

// DisableImplicitVsock leaves out the vsock device that libkrun otherwise adds. Without
// a network device that one has TSIInet.
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

// AddVsockPort connects a vsock port of the guest to the unix socket at path. A host
// process has to listen there when the guest connects. The VM must have a vsock device.
func (c *Context) AddVsockPort(port uint32, path string) error {
	return c.addVsockPort(addVsockPort, port, path, false)
}

// AddVsockPort2 is AddVsockPort, or with listen the other direction: the guest listens,
// and libkrun makes the socket. Its path must not exist, but the directory must.
func (c *Context) AddVsockPort2(port uint32, path string, listen bool) error {
	return c.addVsockPort(addVsockPort2, port, path, listen, flag(listen))
}

func (c *Context) addVsockPort(f fn, port uint32, path string, listen bool, more ...arg) error {
	return c.apply(change{f: f, args: append([]arg{u32(port), str(path)}, more...),
		check: func(symbol string) error {
			if slices.Contains(c.vsockPorts, port) {
				return invalid(symbol, "the port %d is connected already", port)
			}
			if err := checkSocketPath(symbol, path, maxSocketPath); err != nil || !listen {
				return err
			}
			return checkDir(symbol, filepath.Dir(path)) // libkrun would go on without the socket
		},
		remember: func() { c.vsockPorts = append(c.vsockPorts, port) }})
}

// NetFlags say how a network device starts.
type NetFlags uint32

const (
	NetVfkit      NetFlags = 1 << 0 // greet as vfkit does; AddNetUnixGram with a path
	NetDHCPClient NetFlags = 1 << 1 // libkrun's init asks for an address
)

// NetFeatures are what a network device leaves to the host, as virtio-net numbers them.
type NetFeatures uint32

const (
	NetCSUM      NetFeatures = 1 << 0
	NetGuestCSUM NetFeatures = 1 << 1
	NetGuestTSO4 NetFeatures = 1 << 7
	NetGuestTSO6 NetFeatures = 1 << 8
	NetGuestUFO  NetFeatures = 1 << 10
	NetHostTSO4  NetFeatures = 1 << 11
	NetHostTSO6  NetFeatures = 1 << 12
	NetHostUFO   NetFeatures = 1 << 14
)

// Net is a network device. Its backend is a socket: either Path or File is set.
type Net struct {
	Path     string   // a listening socket; libkrun connects when the guest starts the device
	File     *os.File // a connected socket
	MAC      [6]byte
	Features NetFeatures
	Flags    NetFlags
}

// AddNetUnixStream adds a network device on a stream socket, such as passt's or
// socket_vmnet's.
func (c *Context) AddNetUnixStream(n Net) error {
	return c.addNet(addNetUnixStream, n, maxSocketPath)
}

// AddNetUnixGram adds a network device on a datagram socket, such as gvproxy's.
func (c *Context) AddNetUnixGram(n Net) error {
	return c.addNet(addNetUnixGram, n, maxGramPath)
}

func (c *Context) addNet(f fn, n Net, maxPath int) error {
	return c.apply(change{
		f:       f,
		args:    []arg{opt(n.Path), file{n.File}, mac(n.MAC), u32(n.Features), u32(n.Flags)},
		devices: 1,
		check: func(symbol string) error {
			if (n.Path == "") == (n.File == nil) {
				return invalid(symbol, "give either a path or a file")
			}
			if err := checkMAC(symbol, n.MAC); err != nil || n.Path == "" {
				return err
			}
			return checkSocket(symbol, n.Path, maxPath)
		},
	})
}

// Tap is a network device on a tap interface of the host.
type Tap struct {
	Name     string
	MAC      [6]byte
	Features NetFeatures
	Flags    NetFlags
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

// checkMAC refuses addresses that a guest's interface can't have.
func checkMAC(symbol string, m [6]byte) error {
	if m == [6]byte{} || m[0]&1 != 0 {
		return invalid(symbol, "%x is no unicast MAC address", m)
	}
	return nil
}

// SetPasstFD is deprecated in libkrun: use AddNetUnixStream.
func (c *Context) SetPasstFD(f *os.File) error {
	return c.apply(change{f: setPasstFD, args: []arg{file{f}}, devices: 1, once: legacyNet,
		check: func(symbol string) error {
			if f == nil {
				return invalid(symbol, "no file")
			}
			return nil
		}})
}

// SetGvproxyPath is deprecated in libkrun: use AddNetUnixGram.
func (c *Context) SetGvproxyPath(path string) error {
	return c.apply(change{f: setGvproxyPath, args: []arg{str(path)}, devices: 1, once: legacyNet,
		check: func(symbol string) error { return checkSocket(symbol, path, maxGramPath) }})
}

// legacyNet are two calls that add the same device.
var legacyNet = []fn{setPasstFD, setGvproxyPath}

// SetNetMAC sets the MAC address for SetPasstFD and SetGvproxyPath.
func (c *Context) SetNetMAC(m [6]byte) error {
	return c.apply(change{f: setNetMAC, args: []arg{mac(m)},
		check: func(symbol string) error { return checkMAC(symbol, m) }})
}
