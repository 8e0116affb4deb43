package nat

import (
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"openshell-vm/drivers/vm/network"
)

// takeEcho drops a guest's echo requests (ping) to all but the gateway: the stack would
// answer for every address in the world, and that would be a lie.
func (n *NAT) takeEcho(protocol tcpip.NetworkProtocolNumber, packet []byte) bool {
	switch protocol {
	case header.IPv4ProtocolNumber:
		ip := header.IPv4(packet)
		if !ip.IsValid(len(packet)) || ip.TransportProtocol() != header.ICMPv4ProtocolNumber {
			return false
		}
		icmp := header.ICMPv4(ip.Payload())
		return len(icmp) >= header.ICMPv4MinimumSize && icmp.Type() == header.ICMPv4Echo &&
			!network.Is(addrOf(ip.DestinationAddress()), network.Addresses.Gateway)
	case header.IPv6ProtocolNumber:
		ip := header.IPv6(packet)
		if !ip.IsValid(len(packet)) || ip.TransportProtocol() != header.ICMPv6ProtocolNumber {
			return false
		}
		icmp := header.ICMPv6(ip.Payload())
		return len(icmp) >= header.ICMPv6MinimumSize && icmp.Type() == header.ICMPv6EchoRequest &&
			!network.Is(addrOf(ip.DestinationAddress()), network.Addresses.Gateway)
	}
	return false
}
