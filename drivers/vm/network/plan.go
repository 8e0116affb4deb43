package network

import (
	"crypto/sha256"
	"net"
	"net/netip"
)

// Plan is the addresses of a VM's network. Each VM has a network of its own, so all have
// the same.
type Plan struct {
	Guest, Gateway, Host [2]netip.Prefix // IPv4 and IPv6
}

// Addresses is the plan of every VM. Gateway is the network process: router and resolver.
// Host is the host's loopback, as far as ports of it were opened.
var Addresses = Plan{
	Guest:   pair("192.168.127.2/24", "fd6f:7065:6e73:686c::2/64"),
	Gateway: pair("192.168.127.1/24", "fd6f:7065:6e73:686c::1/64"),
	Host:    pair("192.168.127.254/24", "fd6f:7065:6e73:686c::fe/64"),
}

func pair(v4, v6 string) [2]netip.Prefix {
	return [2]netip.Prefix{netip.MustParsePrefix(v4), netip.MustParsePrefix(v6)}
}

// Within reports whether addr lies in a VM's own network.
func (p Plan) Within(addr netip.Addr) bool {
	return p.Gateway[0].Masked().Contains(addr) || p.Gateway[1].Masked().Contains(addr)
}

// Is reports whether addr is one of the two of a pair.
func Is(addr netip.Addr, pair [2]netip.Prefix) bool {
	return addr == pair[0].Addr() || addr == pair[1].Addr()
}

// HostName is the name for Addresses.Host in a guest.
const HostName = "host.openshell.internal"

// MAC returns the address of a sandbox's card. It stays the same over restarts.
func MAC(id string) net.HardwareAddr {
	sum := sha256.Sum256([]byte("mac of " + id))
	return append(net.HardwareAddr{0x52, 0x54, 0x00}, sum[:3]...)
}

// GatewayMAC is the address of the network process's own card.
var GatewayMAC = net.HardwareAddr{0x52, 0x55, 0x0a, 0x00, 0x02, 0x01}
