package nat

import (
	"context"
	"errors"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"openshell-vm/drivers/vm/network"
)

// end is the stack's end of a connection with the guest.
type end struct {
	*gonet.TCPConn
	tcp tcpip.Endpoint
}

// newEnd takes over an endpoint. buffer is how many bytes may wait each way.
func newEnd(queue *waiter.Queue, endpoint tcpip.Endpoint, buffer int64) *end {
	endpoint.SocketOptions().SetSendBufferSize(buffer, true)
	endpoint.SocketOptions().SetReceiveBufferSize(buffer, true)
	endpoint.SocketOptions().SetKeepAlive(true)
	return &end{gonet.NewTCPConn(queue, endpoint), endpoint}
}

// finish closes the end, and returns when nothing of it is left. What the guest does not
// take within grace is lost, and the guest is told so by a reset: a closed endpoint would
// else keep its data for as long as the guest likes.
func (e *end) finish(grace time.Duration) {
	e.Close()
	deadline := time.Now().Add(grace)
	for pause := time.Millisecond; !e.isGone(); pause = min(2*pause, 250*time.Millisecond) {
		if time.Now().After(deadline) {
			e.tcp.Abort()
			return
		}
		time.Sleep(pause)
	}
}

// isGone reports whether the endpoint has no data and no timers any more, but for the
// one of TIME-WAIT, which is short.
func (e *end) isGone() bool {
	switch tcp.EndpointState(e.tcp.State()) {
	case tcp.StateClose, tcp.StateError, tcp.StateTimeWait:
		return true
	}
	return false
}

// dialGuest connects to a port of the guest.
func (n *NAT) dialGuest(ctx context.Context, port uint16, buffer int64) (*end, error) {
	guest := network.Addresses.Guest[0].Addr()
	var queue waiter.Queue
	endpoint, failed := n.stack.NewEndpoint(tcp.ProtocolNumber, protocolOf(guest), &queue)
	if failed != nil {
		return nil, errors.New(failed.String())
	}
	e := newEnd(&queue, endpoint, buffer)
	entry, writable := waiter.NewChannelEntry(waiter.WritableEvents)
	queue.EventRegister(&entry)
	defer queue.EventUnregister(&entry)
	failed = endpoint.Bind(full(network.Addresses.Gateway[0].Addr(), 0))
	if failed == nil {
		failed = endpoint.Connect(full(guest, port))
	}
	if _, started := failed.(*tcpip.ErrConnectStarted); started {
		select {
		case <-ctx.Done():
			endpoint.Abort()
			return nil, ctx.Err()
		case <-writable:
		}
		failed = endpoint.LastError()
	}
	if failed != nil {
		endpoint.Abort()
		return nil, errors.New(failed.String())
	}
	return e, nil
}

// listener takes connections of the guest to an address of the stack's own.
type listener struct {
	tcp   tcpip.Endpoint
	queue waiter.Queue
}

const backlog = 16 // connections that wait to be accepted

func (n *NAT) listenTCP(at tcpip.FullAddress, protocol tcpip.NetworkProtocolNumber) (*listener, error) {
	l := &listener{}
	endpoint, failed := n.stack.NewEndpoint(tcp.ProtocolNumber, protocol, &l.queue)
	if failed != nil {
		return nil, errors.New(failed.String())
	}
	l.tcp = endpoint
	if failed = endpoint.Bind(at); failed == nil {
		failed = endpoint.Listen(backlog)
	}
	if failed != nil {
		endpoint.Close()
		return nil, errors.New(failed.String())
	}
	return l, nil
}

func (l *listener) accept(buffer int64) (*end, error) {
	entry, readable := waiter.NewChannelEntry(waiter.ReadableEvents)
	l.queue.EventRegister(&entry)
	defer l.queue.EventUnregister(&entry)
	for {
		endpoint, queue, failed := l.tcp.Accept(nil)
		if _, blocked := failed.(*tcpip.ErrWouldBlock); blocked {
			<-readable
			continue
		}
		if failed != nil {
			return nil, errors.New(failed.String())
		}
		return newEnd(queue, endpoint, buffer), nil
	}
}
