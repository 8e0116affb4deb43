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
		if !ip.IsValid(len(packet)) {
			return false
		}
		to := addrOf(ip.DestinationAddress())
		return !to.IsMulticast() && !network.Is(to, network.Addresses.Gateway) && mayBeEcho(ip)
	}
	return false
}

// mayBeEcho reports whether an IPv6 packet may lead to the answer of an echo. What hides
// its protocol behind other headers is taken for one: nothing else that a guest may send
// to other hosts has them, but for pieces of datagrams and segments.
func mayBeEcho(ip header.IPv6) bool {
	next, payload := ip.NextHeader(), ip.Payload()
	if next == uint8(header.IPv6FragmentExtHdrIdentifier) && len(payload) > 0 {
		next = payload[0]
	} else if next == uint8(header.ICMPv6ProtocolNumber) {
		return len(payload) < header.ICMPv6MinimumSize || header.ICMPv6(payload).Type() == header.ICMPv6EchoRequest
	}
	return next != uint8(header.TCPProtocolNumber) && next != uint8(header.UDPProtocolNumber)
}
