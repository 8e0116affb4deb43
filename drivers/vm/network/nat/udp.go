package nat

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"openshell-vm/drivers/vm/network"
	"openshell-vm/drivers/vm/network/policy"
)

// How long a flow of datagrams lasts without one.
const (
	flowTime     = 90 * time.Second
	flowTimeDNS  = 15 * time.Second
	recheckEvery = 3 * time.Second
	datagramSize = 64 << 10
)

// flow is one flow of datagrams between two sockets.
type flow struct {
	guest, host net.Conn
	last        atomic.Int64 // Unix nanoseconds of the last datagram
	// recheck judges the flow's address once more; nil if it needs none. The kernel finds a
	// way for each datagram anew, so an address may become the host's at any time.
	recheck func() error
}

func (f *flow) touch() { f.last.Store(time.Now().UnixNano()) }

func (f *flow) close() {
	f.guest.Close()
	f.host.Close()
}

// flows are the flows there are. A new one takes the place of the one that was idle for
// the longest.
type flows struct {
	most int
	mu   sync.Mutex
	all  map[*flow]struct{}
}

func (fs *flows) add(f *flow) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.all == nil {
		fs.all = map[*flow]struct{}{}
	}
	if len(fs.all) >= fs.most {
		var oldest *flow
		for f := range fs.all {
			if oldest == nil || f.last.Load() < oldest.last.Load() {
				oldest = f
			}
		}
		oldest.close()
		delete(fs.all, oldest)
	}
	fs.all[f] = struct{}{}
}

func (fs *flows) remove(f *flow) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	delete(fs.all, f)
}

// datagram makes a flow for a guest's first datagram to an address. After false the guest
// gets an ICMP message that the port can't be reached.
func (n *NAT) datagram(r *udp.ForwarderRequest) bool {
	id := r.ID()
	to := netip.AddrPortFrom(addrOf(id.LocalAddress), id.LocalPort)
	if err := n.lately.why(to); err != nil {
		n.tellRefusal(policy.UDP, to, err)
		return false
	}
	host, err := n.open(policy.UDP, to)
	if err == errBusy {
		return true // lost without a word
	} else if err != nil {
		n.lately.add(to, err)
		return false
	}
	var queue waiter.Queue
	end, failed := r.CreateEndpoint(&queue)
	if failed != nil {
		host.Close()
		return false
	}
	idle := flowTime
	if to.Port() == 53 {
		idle = flowTimeDNS
	}
	f := &flow{guest: gonet.NewUDPConn(&queue, end), host: host, recheck: func() error {
		err := n.policy.Recheck(to.Addr())
		n.tellRefusal(policy.UDP, to, err)
		return err
	}}
	go n.flow(f, idle)
	return true
}

// flow passes datagrams both ways until none came for idle.
func (n *NAT) flow(f *flow, idle time.Duration) {
	f.touch()
	n.flows.add(f)
	defer n.flows.remove(f)
	defer f.close()
	go func() {
		defer f.close()
		f.pass(f.host, f.guest, idle)
	}()
	f.pass(f.guest, f.host, idle)
}

var datagrams = sync.Pool{New: func() any { return new([datagramSize]byte) }}

func (f *flow) pass(to, from net.Conn, idle time.Duration) {
	buf := datagrams.Get().(*[datagramSize]byte)
	defer datagrams.Put(buf)
	checked := time.Now()
	for {
		from.SetReadDeadline(time.Unix(0, f.last.Load()).Add(idle))
		size, err := from.Read(buf[:])
		if ne, ok := err.(net.Error); ok && ne.Timeout() && time.Since(time.Unix(0, f.last.Load())) < idle {
			continue // the other way was in use
		}
		if err != nil {
			return
		}
		f.touch()
		if f.recheck != nil && time.Since(checked) >= recheckEvery {
			if f.recheck() != nil {
				return
			}
			checked = time.Now()
		}
		if _, err := to.Write(buf[:size]); err != nil && !isPassing(err) {
			return
		}
	}
}

// forwardUDP leads datagrams to a port of the host into the guest, and answers back, until
// the socket ends.
func (n *NAT) forwardUDP(conn *net.UDPConn, port uint16) {
	var mu sync.Mutex
	clients := map[netip.AddrPort]*client{}
	buf := make([]byte, datagramSize)
	for {
		size, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil && isPassing(err) {
			continue
		} else if err != nil {
			return
		}
		mu.Lock()
		c := clients[from]
		if c == nil {
			guest, err := n.dialGuestUDP(port)
			if err != nil {
				mu.Unlock()
				continue
			}
			c = &client{conn: conn, to: from}
			c.flow = &flow{guest: guest, host: c}
			c.flow.touch()
			clients[from] = c
			n.flows.add(c.flow)
			go func() {
				c.flow.pass(c, guest, flowTime)
				c.flow.close()
				n.flows.remove(c.flow)
				mu.Lock()
				delete(clients, from)
				mu.Unlock()
			}()
		}
		mu.Unlock()
		c.flow.touch()
		_, _ = c.flow.guest.Write(buf[:size]) // like all datagrams it may be lost
	}
}

func (n *NAT) dialGuestUDP(port uint16) (net.Conn, error) {
	guest := network.Addresses.Guest[0].Addr()
	to := full(guest, port)
	return gonet.DialUDP(n.stack, nil, &to, protocolOf(guest))
}

// client is somebody on the host who sends datagrams to a port that leads into the guest.
type client struct {
	*net.UDPConn
	conn *net.UDPConn
	to   netip.AddrPort
	flow *flow
}

func (c *client) Write(b []byte) (int, error) { return c.conn.WriteToUDPAddrPort(b, c.to) }

// Close closes nothing: the socket belongs to all clients.
func (c *client) Close() error { return nil }

// nameTime bounds the answer to a question for a name.
const nameTime = 30 * time.Second

// serveNames answers at port 53 of the gateway's addresses.
func (n *NAT) serveNames() error {
	for _, prefix := range network.Addresses.Gateway {
		at := full(prefix.Addr(), 53)
		conn, err := gonet.DialUDP(n.stack, &at, nil, protocolOf(prefix.Addr()))
		if err != nil {
			return err
		}
		go n.namesUDP(conn)
		listener, err := n.listenTCP(at, protocolOf(prefix.Addr()))
		if err != nil {
			return err
		}
		go n.namesTCP(listener)
	}
	return nil
}

func (n *NAT) namesUDP(conn *gonet.UDPConn) {
	buf := make([]byte, datagramSize)
	asking := make(chan struct{}, mostAsking)
	for {
		size, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		query := append([]byte{}, buf[:size]...)
		select {
		case asking <- struct{}{}:
		default:
			continue // a lost question is asked again
		}
		go func() {
			defer func() { <-asking }()
			ctx, cancel := context.WithTimeout(context.Background(), nameTime)
			defer cancel()
			if answer := n.resolver.Answer(ctx, query, false); answer != nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}()
	}
}

// mostAsking bounds the questions and connections of each resolver's address.
const mostAsking = 32
