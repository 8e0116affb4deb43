package nat

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"openshell-vm/drivers/vm/network"
	"openshell-vm/drivers/vm/network/policy"
)

// becomesTheHosts lets the outside's addresses become the host's own.
func (w *world) becomesTheHosts() (become func()) {
	var its atomic.Bool
	before := w.nat.policy.Host
	w.nat.policy.Host = func(addr netip.Addr) error {
		if its.Load() && outside.Contains(addr) {
			return policy.Refusal("the host itself is refused")
		}
		return before(addr)
	}
	return func() { its.Store(true) }
}

// TestAddressBecomesTheHosts: the address that a guest connects to becomes the host's
// while the connection is made. The guest does not get it.
func TestAddressBecomesTheHosts(t *testing.T) {
	server, _ := echoTCP(t, "127.0.0.1:0")
	w := newWorld(t, network.Config{}, map[uint16]string{80: server})
	become := w.becomesTheHosts()
	dial := w.nat.dial
	w.nat.dial = func(ctx context.Context, protocol policy.Protocol, to netip.AddrPort) (net.Conn, error) {
		become()
		return dial(ctx, protocol, to)
	}
	if conn, err := w.dialTCP("203.0.113.5:80"); err == nil {
		conn.Close()
		t.Error("the guest was connected")
	}
	w.refused.await(t, func(r network.Refused) bool {
		return r.What == "tcp 203.0.113.5:80" && strings.Contains(r.Why, "host itself")
	})
}

// TestFlowIsChecked: an address that becomes the host's in the middle of a flow gets no
// datagram after some seconds, however many are sent.
func TestFlowIsChecked(t *testing.T) {
	server, seen := echoUDP(t, "127.0.0.1:0")
	w := newWorld(t, network.Config{}, map[uint16]string{90: server})
	become := w.becomesTheHosts()
	conn := w.dialUDP(t, "203.0.113.5:90")
	conn.Write([]byte("x"))
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	become()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				conn.Write([]byte("x"))
			}
		}
	}()
	w.refused.await(t, func(r network.Refused) bool {
		return r.What == "udp 203.0.113.5:90" && strings.Contains(r.Why, "host itself")
	})
	before := seen.Load()
	await(t, "the flow is gone", func() bool {
		w.nat.flows.mu.Lock()
		defer w.nat.flows.mu.Unlock()
		return len(w.nat.flows.all) == 0
	})
	if after := seen.Load(); after > before+1 { // one may have been on its way
		t.Errorf("%d datagrams came after the refusal", after-before)
	}
}

// TestRefusedDatagrams: a guest that sends on to what it may not reach is refused each time,
// and the kernel is asked once in a while. A name that is given out meanwhile counts at once.
func TestRefusedDatagrams(t *testing.T) {
	server, seen := echoUDP(t, "127.0.0.1:0")
	w := newWorld(t, network.Config{AllowEgress: []string{"www.example.org"}}, map[uint16]string{90: server})
	var judged atomic.Int64
	before := w.nat.policy.Host
	w.nat.policy.Host = func(addr netip.Addr) error {
		judged.Add(1)
		return before(addr)
	}
	began, conn := time.Now(), w.dialUDP(t, "203.0.113.5:90")
	const sent = 500
	for range sent {
		conn.Write([]byte("x"))
		conn = w.dialUDP(t, "203.0.113.5:90")
	}
	w.refused.await(t, func(r network.Refused) bool { return r.What == "udp 203.0.113.5:90" && r.Times > 1 })
	if most := 1 + int64(time.Since(began)/latelyTime); judged.Load() > most {
		t.Errorf("%d datagrams were judged %d times, more than %d", sent, judged.Load(), most)
	}
	w.nat.gave("www.example.org", netip.MustParseAddr("203.0.113.5"), time.Minute)
	conn.Write([]byte("x"))
	if _, err := conn.Read(make([]byte, 1)); err != nil || seen.Load() == 0 { // some of the others may have been on their way
		t.Errorf("allowed, %d datagrams came; %v", seen.Load(), err)
	}
}

// TestSocketRate: a guest that makes many new flows waits for connections, and its
// datagrams are lost; its other traffic goes on.
func TestSocketRate(t *testing.T) {
	tcp, _ := echoTCP(t, "127.0.0.1:0")
	udp, seen := echoUDP(t, "127.0.0.1:0")
	w := newWorld(t, network.Config{}, map[uint16]string{80: tcp, 90: udp})
	w.nat.sockets = rate.NewLimiter(rate.Every(200*time.Millisecond), 1)
	for range 3 { // the later ones wait
		conn, err := w.dialTCP("203.0.113.5:80")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	began := time.Now()
	for range 20 {
		w.dialUDP(t, "203.0.113.5:90").Write([]byte("x"))
	}
	conn, err := w.dialTCP("203.0.113.5:80")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	conn.Write([]byte("hello"))
	buf := make([]byte, 5)
	if _, err := conn.Read(buf); err != nil || !bytes.Equal(buf, []byte("hello")) {
		t.Errorf("%q, %v", buf, err)
	}
	if most := 2 + int64(time.Since(began)/(200*time.Millisecond)); seen.Load() > most {
		t.Errorf("%d of 20 new flows were made, not %d", seen.Load(), most)
	}
}
