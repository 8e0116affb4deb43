package nat

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"openshell-vm/drivers/vm/network"
	"openshell-vm/drivers/vm/network/policy"
)

// Buffers of a connection, in bytes. The first ones are fast; a guest that has many gets
// small ones, so that all together take at most 170 MiB.
const (
	tcpBuffer = 1 << 20
	tcpWindow = 256 << 10
	fewConns  = 32
	someConns = 128
	copySize  = 32 << 10
)

func bufferSize(conns int64) int64 {
	switch {
	case conns <= fewConns:
		return tcpBuffer
	case conns <= someConns:
		return tcpBuffer / 4
	}
	return tcpBuffer / 32
}

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
	end, failed := r.CreateEndpoint(&queue)
	r.Complete(failed != nil)
	if failed != nil {
		host.Close()
		return
	}
	size := bufferSize(n.conns.used.Load())
	end.SocketOptions().SetSendBufferSize(size, true)
	end.SocketOptions().SetReceiveBufferSize(size, true)
	end.SocketOptions().SetKeepAlive(true)
	join(gonet.NewTCPConn(&queue, end), host.(*net.TCPConn), func() { end.Abort() })
}

// halfCloser is a connection whose ways end one by one.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// join copies both ways until both have ended. What ends one way with an error ends both
// at once, and the other side is told by a reset.
func join(guest *gonet.TCPConn, host *net.TCPConn, abortGuest func()) {
	abort := sync.OnceFunc(func() {
		host.SetLinger(0)
		host.Close()
		abortGuest()
	})
	var both sync.WaitGroup
	both.Go(func() { pass(host, guest, abort) })
	both.Go(func() { pass(guest, host, abort) })
	both.Wait()
	guest.Close()
	host.Close()
}

var buffers = sync.Pool{New: func() any { return new([copySize]byte) }}

func pass(to halfCloser, from net.Conn, abort func()) {
	buf := buffers.Get().(*[copySize]byte)
	defer buffers.Put(buf)
	// Without ReaderFrom and WriterTo: they would take buffers of their own.
	_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, buf[:])
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
	guest := network.Addresses.Guest[0].Addr()
	conn, err := gonet.DialTCPWithBind(ctx, n.stack, full(network.Addresses.Gateway[0].Addr(), 0), full(guest, port), protocolOf(guest))
	if err != nil {
		host.SetLinger(0)
		host.Close()
		return
	}
	join(conn, host, func() { conn.Close() })
}
