package nat

import (
	"context"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
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
	"openshell-vm/drivers/vm/network/policy"
)

const testMTU = 16384

// guest is a machine at the far end of a wire: another network stack, with the addresses
// that a VM has.
type guest struct {
	*stack.Stack
	card *link.Endpoint
}

// outside are addresses that the tests take for the internet's. What is sent there ends at
// a listener of the test.
var outside = netip.MustParsePrefix("203.0.113.0/24")

// world is a guest, its network, and what lies around it.
type world struct {
	*guest
	nat     *NAT
	refused *collected
}

type collected struct {
	mu  sync.Mutex
	all []network.ToMonitor
}

func (c *collected) tell(m network.ToMonitor) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, m)
}

// await waits for a refusal that fits.
func (c *collected) await(t *testing.T, fits func(network.Refused) bool) network.Refused {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		c.mu.Lock()
		for _, m := range c.all {
			for _, r := range m.Refused {
				if fits(r) {
					c.mu.Unlock()
					return r
				}
			}
		}
		c.mu.Unlock()
	}
	t.Fatalf("no such refusal was told: %+v", c.all)
	return network.Refused{}
}

// wires makes a wire and returns its two ends.
func wires(t testing.TB) (host, guest *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	host, guest = os.NewFile(uintptr(fds[0]), "host"), os.NewFile(uintptr(fds[1]), "guest")
	t.Cleanup(func() { host.Close(); guest.Close() })
	return host, guest
}

// newWorld starts a guest's network. Addresses in outside lead to servers, by port.
func newWorld(t testing.TB, cfg network.Config, servers map[uint16]string) *world {
	t.Helper()
	cfg.MTU = testMTU
	hostEnd, guestEnd := wires(t)
	c := &collected{}
	n, err := New(cfg, hostEnd, c.tell)
	if err != nil {
		t.Fatal(err)
	}
	n.policy.Host = func(addr netip.Addr) error {
		if outside.Contains(addr) {
			return nil
		}
		return policy.Live(addr)
	}
	n.dial = func(ctx context.Context, protocol policy.Protocol, to netip.AddrPort) (net.Conn, error) {
		if !outside.Contains(to.Addr()) {
			return dial(ctx, protocol, to)
		}
		return (&net.Dialer{}).DialContext(ctx, string(protocol), servers[to.Port()])
	}
	go n.Run()
	return &world{newGuest(t, guestEnd), n, c}
}

func newGuest(t testing.TB, wire *os.File) *guest {
	t.Helper()
	conn, err := net.FileConn(wire)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	g := &guest{card: link.New(conn, tcpip.LinkAddress(network.MAC("test")), testMTU), Stack: stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})}
	if err := setOptions(g.Stack); err != nil {
		t.Fatal(err)
	}
	if err := g.CreateNIC(nic, g.card); err != nil {
		t.Fatal(err)
	}
	var routes []tcpip.Route
	for i, prefix := range network.Addresses.Guest {
		err := g.AddProtocolAddress(nic, tcpip.ProtocolAddress{
			Protocol:          protocolOf(prefix.Addr()),
			AddressWithPrefix: tcpip.AddressWithPrefix{Address: tcpip.AddrFromSlice(prefix.Addr().AsSlice()), PrefixLen: prefix.Bits()},
		}, stack.AddressProperties{})
		if err != nil {
			t.Fatal(err)
		}
		subnet, _ := tcpip.NewSubnet(tcpip.AddrFromSlice(prefix.Masked().Addr().AsSlice()), tcpip.MaskFromBytes(net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())))
		gateway := tcpip.AddrFromSlice(network.Addresses.Gateway[i].Addr().AsSlice())
		routes = append(routes, tcpip.Route{Destination: subnet, NIC: nic})
		routes = append(routes, tcpip.Route{Destination: []tcpip.Subnet{header.IPv4EmptySubnet, header.IPv6EmptySubnet}[i], Gateway: gateway, NIC: nic})
	}
	g.SetRouteTable(routes)
	go g.card.Run()
	return g
}

// dialTCP connects from the guest.
func (g *guest) dialTCP(to string) (*gonet.TCPConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	addr := netip.MustParseAddrPort(to)
	return gonet.DialContextTCP(ctx, g.Stack, full(addr.Addr(), addr.Port()), protocolOf(addr.Addr()))
}

func (g *guest) dialUDP(t testing.TB, to string) *gonet.UDPConn {
	t.Helper()
	addr := netip.MustParseAddrPort(to)
	remote := full(addr.Addr(), addr.Port())
	conn, err := gonet.DialUDP(g.Stack, nil, &remote, protocolOf(addr.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	return conn
}
