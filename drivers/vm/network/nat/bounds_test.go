package nat

import (
	"net"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"openshell-vm/drivers/vm/network"
)

// endpoints returns how many connections the stack has, and the sum of their buffers.
func (w *world) endpoints() (count, buffers int64) {
	for _, e := range w.nat.stack.RegisteredEndpoints() {
		if ep, ok := e.(*tcp.Endpoint); ok {
			switch ep.EndpointState() {
			case tcp.StateListen, tcp.StateTimeWait, tcp.StateClose, tcp.StateError:
				continue
			}
			count++
			buffers += ep.SocketOptions().GetReceiveBufferSize() + ep.SocketOptions().GetSendBufferSize()
		}
	}
	return count, buffers
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// sender is a server that sends size bytes to each client, and the end.
func sender(t *testing.T, size int) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				conn.Write(make([]byte, size))
				conn.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// TestUntakenData: a guest ends its side of connections and never takes what the server
// sent. They are counted for as long as the stack has them, and after a while it has not.
func TestUntakenData(t *testing.T) {
	w := newWorld(t, network.Config{}, map[uint16]string{80: sender(t, 600<<10)})
	w.nat.linger = 2 * time.Second
	const many = 10
	for range many {
		conn, err := w.dialTCP("203.0.113.5:80")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.CloseWrite()
	}
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		used := w.nat.conns.used.Load() // may fall meanwhile
		if count, _ := w.endpoints(); count > used {
			t.Fatalf("the stack has %d connections, and %d are counted", count, used)
		}
	}
	await(t, "the connections are gone", func() bool {
		count, _ := w.endpoints()
		return count == 0 && w.nat.conns.used.Load() == 0
	})
}

// TestForwardsAreBounded: many connections from the host into the guest, with data that
// nobody takes, have no larger buffers than those of the other way.
func TestForwardsAreBounded(t *testing.T) {
	w := newWorld(t, network.Config{}, nil)
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file, err := listen.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	listen.Close()
	if err := w.nat.Forward(network.Forward{Protocol: "tcp", Guest: 80}, file); err != nil {
		t.Fatal(err)
	}
	guest := network.Addresses.Guest[0].Addr()
	inside, err := gonet.ListenTCP(w.Stack, full(guest, 80), protocolOf(guest))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			if _, err := inside.Accept(); err != nil { // and never reads
				return
			}
		}
	}()
	const many = 150
	for range many {
		conn, err := net.Dial("tcp", listen.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	await(t, "all are connected", func() bool { count, _ := w.endpoints(); return count == many })
	var most int64
	for i := range int64(many) {
		most += 2 * shareOf(i+1).buffer
	}
	if _, buffers := w.endpoints(); buffers > most {
		t.Errorf("%d connections have buffers of %d MiB, more than %d", many, buffers>>20, most>>20)
	}
}

// TestShares adds up the buffers of all connections: it is the sum that memoryLimit is
// made of.
func TestShares(t *testing.T) {
	var sum int64
	for i := range int64(mostTCP) {
		s := shareOf(i + 1)
		sum += 2 * (s.buffer + int64(s.copy))
	}
	if sum > 106<<20 {
		t.Errorf("all connections together have %d MiB", sum>>20)
	}
	if flows := mostUDP * (udpBuffer + 2*datagramSize); flows > 40<<20 {
		t.Errorf("all flows together have %d MiB", flows>>20)
	}
}

// TestSmallShare: a connection with the smallest buffers carries data, both ways.
func TestSmallShare(t *testing.T) {
	server, _ := echoTCP(t, "127.0.0.1:0")
	w := newWorld(t, network.Config{}, map[uint16]string{80: server})
	w.nat.conns.used.Add(500)
	conn, err := w.dialTCP("203.0.113.5:80")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	const size = 2 << 20
	go conn.Write(make([]byte, size))
	buf, got := make([]byte, 64<<10), 0
	for got < size {
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatalf("after %d bytes: %v", got, err)
		}
		got += n
	}
}
