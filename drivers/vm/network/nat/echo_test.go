package nat

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"openshell-vm/drivers/vm/network"
)

// TestHiddenEcho: an echo request to a host other than the gateway does not reach the
// stack, in whatever form it comes. Datagrams in pieces do.
func TestHiddenEcho(t *testing.T) {
	echo := make([]byte, 64)
	echo[0] = byte(header.ICMPv6EchoRequest)
	fragment := func(next byte, more bool, b []byte) []byte {
		head := []byte{next, 0, 0, 0, 0, 0, 0, 9}
		if more {
			head[3] = 1
		}
		return append(head, b...)
	}
	options := func(b []byte) []byte { return append([]byte{58, 0, 1, 4, 0, 0, 0, 0}, b...) }
	udp := make([]byte, 64)
	gateway := network.Addresses.Gateway[1].Addr().String()
	for _, c := range []struct {
		name    string
		to      string
		next    byte
		payload []byte
		taken   bool
	}{
		{"plain", "fd00:ec2::254", 58, echo, true},
		{"to the gateway", gateway, 58, echo, false},
		{"to the gateway in pieces", gateway, 44, fragment(58, true, echo[:32]), false},
		{"the first piece", "fd00:ec2::254", 44, fragment(58, true, echo[:32]), true},
		{"a piece whose protocol is hidden", "fd00:ec2::254", 44, fragment(60, true, options(echo)), true},
		{"a piece that is none", "fd00:ec2::254", 44, nil, true},
		{"destination options", "fd00:ec2::254", 60, options(echo), true},
		{"hop-by-hop options", "fd00:ec2::254", 0, options(echo), true},
		{"a routing header", "fd00:ec2::254", 43, options(echo), true},
		{"a neighbour", "ff02::1", 0, options(echo), false},
		{"a datagram", "2001:db8::1", 17, udp, false},
		{"a piece of a datagram", "2001:db8::1", 44, fragment(17, true, udp), false},
		{"a solicitation", "2001:db8::1", 58, []byte{byte(header.ICMPv6NeighborSolicit), 0, 0, 0, 0, 0, 0, 0}, false},
	} {
		packet := make([]byte, header.IPv6MinimumSize, 200)
		packet[0], packet[6], packet[7] = 0x60, c.next, 64
		binary.BigEndian.PutUint16(packet[4:], uint16(len(c.payload)))
		copy(packet[8:], network.Addresses.Guest[1].Addr().AsSlice())
		copy(packet[24:], netip.MustParseAddr(c.to).AsSlice())
		n := &NAT{}
		if got := n.takeEcho(tcpip.NetworkProtocolNumber(header.IPv6ProtocolNumber), append(packet, c.payload...)); got != c.taken {
			t.Errorf("%s: taken is %v", c.name, got)
		}
	}
}
