package vocab

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// ProtocolUDP is Port.Protocol for UDP.
const ProtocolUDP = "udp"

// IP is the host's address that the port is on. It is the loopback's if none was given, or
// none that can be read.
func (p Port) IP() netip.Addr {
	if ip, err := netip.ParseAddr(p.HostIP); err == nil {
		return ip.Unmap()
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// Inside is the sandbox's port with its protocol, such as 80/tcp.
func (p Port) Inside() string { return fmt.Sprintf("%d/%s", p.Guest, p.protocol()) }

// Address is the host's address and port, such as 127.0.0.1:8080.
func (p Port) Address() string { return net.JoinHostPort(p.IP().String(), strconv.Itoa(int(p.Host))) }

// Listen is Address with the protocol.
func (p Port) Listen() string { return p.Address() + "/" + p.protocol() }

// String is docker's form of a published port.
func (p Port) String() string { return p.Address() + "->" + p.Inside() }

func (p Port) protocol() string {
	if p.Protocol == "" {
		return "tcp"
	}
	return p.Protocol
}

// Clashes reports whether two ports can't both be listened on. An unspecified address is all
// addresses. Two ports that are still to be chosen do not clash.
func (p Port) Clashes(other Port) bool {
	a, b := p.IP(), other.IP()
	return p.Host != 0 && p.Host == other.Host && p.protocol() == other.protocol() &&
		(a == b || a.IsUnspecified() || b.IsUnspecified())
}
