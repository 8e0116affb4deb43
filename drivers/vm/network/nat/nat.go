package nat

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/time/rate"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"openshell-vm/drivers/vm/network"
	"openshell-vm/drivers/vm/network/link"
	"openshell-vm/drivers/vm/network/policy"
	"openshell-vm/drivers/vm/network/resolver"
)

// Bounds of what a guest can take.
const (
	mostTCP   = 1024 + 64 // connections, both ways together
	mostDials = 256       // of them not connected yet
	mostUDP   = 256       // flows, both ways together
	udpBuffer = 32 << 10  // bytes that wait each way of a flow, or one datagram more
)

// The host remembers each socket for a minute or two after its end: a port, an entry of its
// connection tracking. A guest that makes many new ones has to wait for them, so that the
// host's other programs have some, too.
const (
	socketRate  = 100 // sockets in a second, for long
	socketBurst = 1000
)

// NAT is the network of one VM.
type NAT struct {
	stack    *stack.Stack
	card     *link.Endpoint
	policy   *policy.Policy
	resolver *resolver.Resolver
	names    resolver.Names // with an allow list: who may be connected to. Else only for what people are told.
	reports  *reports
	conns    slots
	flows    flows
	lately   lately        // refused datagrams
	sockets  *rate.Limiter // for new sockets of the host
	linger   time.Duration // lingerTime, but for tests
	// dial is how the host's sockets are made; a field for tests.
	dial func(ctx context.Context, protocol policy.Protocol, to netip.AddrPort) (net.Conn, error)
}

// New makes the network for cfg at the end of a wire. tell takes messages for the
// monitor.
func New(cfg network.Config, wire *os.File, tell func(network.ToMonitor)) (*NAT, error) {
	conn, err := net.FileConn(wire)
	if err != nil {
		return nil, fmt.Errorf("the wire to the guest: %w", err)
	}
	n := &NAT{
		card:   link.New(conn, tcpip.LinkAddress(network.GatewayMAC), uint32(cfg.MTU)),
		policy: &policy.Policy{AllowHost: cfg.AllowHost, Host: policy.Live},
		conns:  slots{most: mostTCP}, flows: flows{most: mostUDP}, linger: lingerTime,
		sockets: rate.NewLimiter(socketRate, socketBurst),
		dial:    dial,
	}
	n.reports = newReports(tell, func() (t network.Traffic) {
		t.Received, t.Sent = n.card.Traffic()
		return t
	})
	n.policy.Opened = n.names.Opened
	for _, text := range cfg.AllowEgress {
		e, err := network.ParseEgress(text)
		if err != nil {
			return nil, err
		}
		n.policy.Egress = append(n.policy.Egress, e)
	}
	n.names.Egress = n.policy.Egress
	n.resolver = &resolver.Resolver{Asks: n.policy.Asks, Refused: n.reports.refusedName, Gave: n.gave, Wait: n.sockets.Wait}
	if n.stack, err = newStack(n.card); err != nil {
		return nil, err
	}
	n.card.Take = n.takeEcho
	n.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, tcp.NewForwarder(n.stack, tcpWindow, mostDials, n.connect).HandlePacket)
	n.stack.SetTransportProtocolHandler(udp.ProtocolNumber, udp.NewForwarder(n.stack, n.datagram).HandlePacket)
	return n, n.serveNames()
}

// Restore brings back which addresses an earlier process handed out.
func (n *NAT) Restore(all []network.Given) {
	for _, g := range all {
		if addr, err := netip.ParseAddr(g.Address); err == nil {
			n.names.Restore(g.Name, addr, g.Until)
		}
	}
}

// Use takes the content of the host's resolv.conf.
func (n *NAT) Use(resolv string) { n.resolver.Use(resolver.ParseConf(resolv)) }

// Run serves the guest until its wire ends.
func (n *NAT) Run() error {
	done := make(chan struct{})
	defer close(done)
	go n.reports.followTraffic(done)
	return n.card.Run()
}

func (n *NAT) gave(name string, addr netip.Addr, ttl time.Duration) {
	until := n.names.Add(name, addr, ttl)
	n.lately.forget()
	if n.policy.Restricted() {
		n.reports.gave(network.Given{Name: name, Address: addr.String(), Until: until})
	}
}

// dialTime bounds the time until a connection is made. It is long enough for four SYNs.
const dialTime = 30 * time.Second

// errItself is a connection that leads to the host itself after all: an address may become
// its own between the look and the connection.
var errItself = policy.Refusal("the host itself is refused")

// dial makes one of the host's sockets.
func dial(ctx context.Context, protocol policy.Protocol, to netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Minute}}
	conn, err := d.DialContext(ctx, string(protocol), to.String())
	if err != nil {
		return nil, err
	}
	local, err1 := netip.ParseAddrPort(conn.LocalAddr().String())
	remote, err2 := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err := errors.Join(err1, err2); err != nil || local.Addr() == remote.Addr() && !remote.Addr().IsLoopback() {
		conn.Close()
		return nil, errItself
	}
	return conn, nil
}

// open checks an address and connects to it, once there is a place for one more socket. It
// checks the address again when the connection is there: the host sends a SYN for as long
// as dialTime, and the address may have become its own meanwhile. That is enough for TCP,
// whose packets go to one socket: an address that becomes the host's later has none for
// them. It tells the monitor of a refusal.
func (n *NAT) open(protocol policy.Protocol, to netip.AddrPort) (net.Conn, error) {
	all, err := n.policy.Check(protocol, to)
	var conn net.Conn
	if err == nil {
		conn, err = n.connectFirst(protocol, all)
	}
	if err == nil {
		if err = n.policy.Recheck(to.Addr()); err != nil {
			discard(conn)
		}
	}
	n.tellRefusal(protocol, to, err)
	return conn, err
}

// discard ends a connection that must not be: nothing waits in it, and a reset leaves
// nothing of it.
func discard(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}

func (n *NAT) tellRefusal(protocol policy.Protocol, to netip.AddrPort, err error) {
	var refusal policy.Refusal
	if errors.As(err, &refusal) {
		n.reports.refused(protocol, to, n.names.Of(to.Addr()), string(refusal))
	}
}

// connectFirst connects to the first address that takes the connection.
func (n *NAT) connectFirst(protocol policy.Protocol, all []netip.AddrPort) (conn net.Conn, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), dialTime)
	defer cancel()
	for _, addr := range all {
		if err = n.awaitSocket(ctx, protocol); err != nil {
			return nil, err
		}
		if conn, err = n.dial(ctx, protocol, addr); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// errBusy says that the guest makes new flows too fast.
var errBusy = errors.New("too many new flows")

// awaitSocket waits until one more socket may be made. Datagrams don't wait: the guest's
// other packets would wait behind them, and a lost one is sent again.
func (n *NAT) awaitSocket(ctx context.Context, protocol policy.Protocol) error {
	if protocol == policy.TCP {
		return n.sockets.Wait(ctx)
	}
	if !n.sockets.Allow() {
		return errBusy
	}
	return nil
}
