package nat

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"openshell-vm/drivers/vm/network/policy"
)

// Buffers of a connection. The first connections are fast; a guest that has many gets
// small ones. See memoryLimit for the sum.
const (
	tcpBuffer  = 1 << 20  // the largest
	tcpDefault = 64 << 10 // until a connection is told its share
	// tcpWindow is what a guest may send before the connection has its share. It grows with
	// the first bytes that are taken.
	tcpWindow = 32 << 10
)

// share is what one connection may take, in bytes, each way.
type share struct {
	buffer int64 // of the stack
	copy   int   // between the two sockets
}

// shares are the shares by the number of connections that there are.
var shares = []struct {
	upTo int64
	share
}{
	{16, share{tcpBuffer, 32 << 10}},
	{128, share{128 << 10, 32 << 10}},
	{mostTCP, share{16 << 10, 4 << 10}},
}

// shareOf returns the share of a connection that is made as one of conns. Its slot is
// counted for as long as any of its memory is there, so no more connections have a share
// than shares says.
func shareOf(conns int64) share {
	for _, s := range shares {
		if conns <= s.upTo {
			return s.share
		}
	}
	return shares[len(shares)-1].share
}

// lingerTime is how long a guest may take to fetch the rest of a connection that both
// sides have ended.
const lingerTime = time.Minute

// connect makes one of the host's connections for one of the guest's. The guest's is
// accepted only once the host's is there, so the guest is told the truth.
func (n *NAT) connect(r *tcp.ForwarderRequest) {
	id := r.ID()
	to := netip.AddrPortFrom(addrOf(id.LocalAddress), id.LocalPort)
	if !n.conns.take() {
		n.reports.refused(policy.TCP, to, nil, "the VM has as many connections as it may have")
		r.Complete(true)
		return
	}
	defer n.conns.free()
	host, err := n.open(policy.TCP, to)
	if err != nil {
		r.Complete(true)
		return
	}
	var queue waiter.Queue
	endpoint, failed := r.CreateEndpoint(&queue)
	r.Complete(failed != nil)
	if failed != nil {
		host.Close()
		return
	}
	s := shareOf(n.conns.used.Load())
	n.join(newEnd(&queue, endpoint, s.buffer), host.(*net.TCPConn), s)
}

// halfCloser is a connection whose ways end one by one.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// join copies both ways until both have ended, and nothing of them is left. What ends one
// way with an error ends both at once, and the other side is told by a reset.
func (n *NAT) join(guest *end, host *net.TCPConn, s share) {
	abort := sync.OnceFunc(func() {
		host.SetLinger(0)
		host.Close()
		guest.tcp.Abort()
	})
	var other sync.WaitGroup
	other.Go(func() { pass(host, guest, s.copy, abort) })
	pass(guest, host, s.copy, abort)
	other.Wait()
	host.Close()
	guest.finish(n.linger)
}

func pass(to halfCloser, from net.Conn, size int, abort func()) {
	// Without ReaderFrom and WriterTo: they would take buffers of their own.
	_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, size))
	if err == nil {
		err = to.CloseWrite()
	}
	if err != nil {
		abort()
	}
}

// guestTime is how long a guest may take to accept a connection.
const guestTime = 30 * time.Second

// forwardTCP leads connections to a port of the host into the guest, until the listener
// ends.
func (n *NAT) forwardTCP(l net.Listener, port uint16) {
	for {
		conn, err := l.Accept()
		if ne, ok := err.(net.Error); ok && ne.Timeout() || err != nil && isTooMany(err) {
			time.Sleep(100 * time.Millisecond) // out of descriptors, for now
			continue
		}
		if err != nil {
			return
		}
		go n.intoGuest(conn.(*net.TCPConn), port)
	}
}

func (n *NAT) intoGuest(host *net.TCPConn, port uint16) {
	if !n.conns.take() {
		host.SetLinger(0)
		host.Close()
		return
	}
	defer n.conns.free()
	ctx, cancel := context.WithTimeout(context.Background(), guestTime)
	defer cancel()
	s := shareOf(n.conns.used.Load())
	guest, err := n.dialGuest(ctx, port, s.buffer)
	if err != nil {
		host.SetLinger(0)
		host.Close()
		return
	}
	n.join(guest, host, s)
}
