package nat

import (
	"fmt"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"openshell-vm/drivers/vm/network"
	"openshell-vm/drivers/vm/network/link"
)

// nic is the number of the only card.
const nic tcpip.NICID = 1

// timeWait is how long a closed connection is remembered. A guest that closes many would
// else fill the memory with them.
const timeWait = 2 * time.Second

// newStack makes the stack. It takes packets for all addresses as its own.
func newStack(card *link.Endpoint) (*stack.Stack, error) {
	s := stack.New(stack.Options{
		NetworkProtocols: []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{
			tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6,
		},
	})
	if err := setOptions(s); err != nil {
		return nil, err
	}
	if err := s.CreateNIC(nic, card); err != nil {
		return nil, fmt.Errorf("make the card: %s", err)
	}
	for _, pair := range [][2]netip.Prefix{network.Addresses.Gateway, network.Addresses.Host} {
		for _, prefix := range pair {
			err := s.AddProtocolAddress(nic, tcpip.ProtocolAddress{
				Protocol: protocolOf(prefix.Addr()),
				AddressWithPrefix: tcpip.AddressWithPrefix{
					Address: tcpip.AddrFromSlice(prefix.Addr().AsSlice()), PrefixLen: prefix.Bits(),
				},
			}, stack.AddressProperties{})
			if err != nil {
				return nil, fmt.Errorf("give the card %s: %s", prefix, err)
			}
		}
	}
	if err := s.SetPromiscuousMode(nic, true); err != nil {
		return nil, fmt.Errorf("take packets for all addresses: %s", err)
	}
	if err := s.SetSpoofing(nic, true); err != nil {
		return nil, fmt.Errorf("answer from all addresses: %s", err)
	}
	s.SetRouteTable([]tcpip.Route{
		{Destination: header.IPv4EmptySubnet, NIC: nic}, {Destination: header.IPv6EmptySubnet, NIC: nic},
	})
	return s, nil
}

func setOptions(s *stack.Stack) error {
	sack, moderate := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true)
	wait := tcpip.TCPTimeWaitTimeoutOption(timeWait)
	recv := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4 << 10, Default: tcpDefault, Max: tcpBuffer}
	send := tcpip.TCPSendBufferSizeRangeOption{Min: 4 << 10, Default: tcpDefault, Max: tcpBuffer}
	for _, option := range []tcpip.SettableTransportProtocolOption{&sack, &moderate, &wait, &recv, &send} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			return fmt.Errorf("set %T: %s", option, err)
		}
	}
	for _, option := range []any{
		tcpip.SendBufferSizeOption{Min: 4 << 10, Default: udpBuffer, Max: udpBuffer},
		tcpip.ReceiveBufferSizeOption{Min: 4 << 10, Default: udpBuffer, Max: udpBuffer},
	} {
		if err := s.SetOption(option); err != nil {
			return fmt.Errorf("set %T: %s", option, err)
		}
	}
	return nil
}

func protocolOf(addr netip.Addr) tcpip.NetworkProtocolNumber {
	if addr.Is4() {
		return ipv4.ProtocolNumber
	}
	return ipv6.ProtocolNumber
}

func addrOf(a tcpip.Address) netip.Addr {
	addr, _ := netip.AddrFromSlice(a.AsSlice())
	return addr
}

func full(addr netip.Addr, port uint16) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFromSlice(addr.AsSlice()), Port: port}
}
