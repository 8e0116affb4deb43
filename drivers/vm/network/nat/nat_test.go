package nat

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"

	"openshell-vm/drivers/vm/network"
	"openshell-vm/drivers/vm/network/policy"
	"openshell-vm/drivers/vm/network/resolver"
)

// echoTCP is a server on loopback that sends back what it gets, until the end.
func echoTCP(t testing.TB, at string) (addr string, seen *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Skipf("this host has no %s: %v", at, err)
	}
	t.Cleanup(func() { l.Close() })
	seen = &atomic.Int64{}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			seen.Add(1)
			go func() {
				defer conn.Close()
				io.Copy(conn, conn)
			}()
		}
	}()
	return l.Addr().String(), seen
}

func echoUDP(t testing.TB, at string) (addr string, seen *atomic.Int64) {
	t.Helper()
	conn, err := net.ListenPacket("udp", at)
	if err != nil {
		t.Skipf("this host has no %s: %v", at, err)
	}
	t.Cleanup(func() { conn.Close() })
	seen = &atomic.Int64{}
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			seen.Add(1)
			conn.WriteTo(buf[:n], from)
		}
	}()
	return conn.LocalAddr().String(), seen
}

// TestTCP sends 8 MiB out and back, and then the end.
func TestTCP(t *testing.T) {
	server, _ := echoTCP(t, "127.0.0.1:0")
	w := newWorld(t, network.Config{}, map[uint16]string{80: server})
	conn, err := w.dialTCP("203.0.113.5:80")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	data := make([]byte, 8<<20)
	rand.NewChaCha8([32]byte{}).Read(data)
	go func() {
		conn.Write(data)
		conn.CloseWrite()
	}()
	sum := sha256.New()
	n, err := io.Copy(sum, conn)
	if want := sha256.Sum256(data); err != nil || n != int64(len(data)) || !bytes.Equal(sum.Sum(nil), want[:]) {
		t.Errorf("%d of %d bytes came back, the same: %v; %v", n, len(data), bytes.Equal(sum.Sum(nil), want[:]), err)
	}
}

// TestRefusedConnection: what nobody listens at is refused at once, as without a network
// in between.
func TestRefusedConnection(t *testing.T) {
	w := newWorld(t, network.Config{}, map[uint16]string{80: "127.0.0.1:1"})
	if conn, err := w.dialTCP("203.0.113.5:80"); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("a connection to a closed port: %v, %v", conn, err)
	}
}

func noTraffic() (t network.Traffic) { return t }

// TestTraffic: the monitor is told how much the guest has received and sent.
func TestTraffic(t *testing.T) {
	server, _ := echoTCP(t, "127.0.0.1:0")
	w := newWorld(t, network.Config{}, map[uint16]string{80: server})
	conn, err := w.dialTCP("203.0.113.5:80")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const size = 300_000
	go conn.Write(make([]byte, size))
	if _, err := io.ReadFull(conn, make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	await(t, "the monitor is told of it", func() bool {
		w.refused.mu.Lock()
		defer w.refused.mu.Unlock()
		return slices.ContainsFunc(w.refused.all, func(m network.ToMonitor) bool {
			return m.Traffic != nil && m.Traffic.Received > size && m.Traffic.Sent > size && m.Traffic.Received+m.Traffic.Sent < 3*size
		})
	})
}

func TestUDP(t *testing.T) {
	server, _ := echoUDP(t, "127.0.0.1:0")
	w := newWorld(t, network.Config{}, map[uint16]string{90: server})
	conn := w.dialUDP(t, "203.0.113.5:90")
	for _, size := range []int{1, 1000, 40000} {
		data := bytes.Repeat([]byte{7}, size)
		if _, err := conn.Write(data); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 64<<10)
		n, err := conn.Read(buf)
		if err != nil || !bytes.Equal(buf[:n], data) {
			t.Fatalf("of a datagram of %d bytes %d came back: %v", size, n, err)
		}
	}
}

// TestForbidden tries everything that a guest must not reach, over TCP and UDP, with a
// server listening wherever this host has such an address. No server may see anything.
func TestForbidden(t *testing.T) {
	tcp4, seen1 := echoTCP(t, "0.0.0.0:0")
	udp4, seen2 := echoUDP(t, "0.0.0.0:0")
	_, tcpPort, _ := net.SplitHostPort(tcp4)
	_, udpPort, _ := net.SplitHostPort(udp4)
	seen := []*atomic.Int64{seen1, seen2}
	if l, err := net.Listen("tcp", "[::]:"+tcpPort); err == nil { // a host without IPv6 has nothing there to reach
		l.Close()
		_, s := echoTCP(t, "[::1]:"+tcpPort)
		seen = append(seen, s)
	}
	targets := []string{
		"127.0.0.1", "127.5.6.7", "0.0.0.0", "0.1.2.3", "169.254.169.254", "169.254.170.2", "169.254.1.1",
		"224.0.0.1", "239.1.2.3", "255.255.255.255", "240.0.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192",
		"::1", "fe80::1", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "ff02::1", "fec0::1",
		"::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::169.254.169.254", "2002:7f00:1::", "2002:a9fe:a9fe::1",
		"2001:0:1:2::3", "fd12::5efe:7f00:1",
		network.Addresses.Host[0].Addr().String(), network.Addresses.Host[1].Addr().String(),
		network.Addresses.Gateway[0].Addr().String(), "192.168.127.77", "fd6f:7065:6e73:686c::77",
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range own {
		targets = append(targets, a.(*net.IPNet).IP.String())
	}
	w := newWorld(t, network.Config{}, nil)
	var tries sync.WaitGroup
	for _, target := range targets {
		tries.Go(func() {
			if conn, err := w.dialTCP(net.JoinHostPort(target, tcpPort)); err == nil {
				t.Errorf("a TCP connection to %s was made", target)
				conn.Close()
			}
		})
		conn := w.dialUDP(t, net.JoinHostPort(target, udpPort))
		conn.Write([]byte("hello"))
	}
	tries.Wait() // 3 s for what the stack itself drops, and long enough for the datagrams
	for _, s := range seen {
		if n := s.Load(); n != 0 {
			t.Errorf("a server of the host saw %d connections or datagrams", n)
		}
	}
}

// names is a name server on loopback that gives each name an address. Its port leads there
// as a server of the world.
func names(t *testing.T, addresses map[string]string) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			m.Response, m.RCode = true, dnsmessage.RCodeNameError
			q := m.Questions[0]
			if a, ok := addresses[q.Name.String()]; ok {
				m.RCode = dnsmessage.RCodeSuccess
				if q.Type == dnsmessage.TypeA {
					m.Answers = []dnsmessage.Resource{{
						Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}, Body: &dnsmessage.AResource{A: netip.MustParseAddr(a).As4()},
					}}
				}
			}
			m.Additionals = nil
			if answer, err := m.Pack(); err == nil {
				conn.WriteTo(answer, from)
			}
		}
	}()
	return netip.MustParseAddrPort(conn.LocalAddr().String())
}

// lookUp asks the guest's resolver for a name, as a guest does.
func (w *world) lookUp(t *testing.T, name string) ([]string, error) {
	t.Helper()
	r := net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(ctx context.Context, protocol, _ string) (net.Conn, error) {
		at := network.Addresses.Gateway[0].Addr()
		if strings.HasPrefix(protocol, "udp") {
			remote := full(at, 53)
			return gonet.DialUDP(w.Stack, nil, &remote, protocolOf(at))
		}
		return gonet.DialContextTCP(ctx, w.Stack, full(at, 53), protocolOf(at))
	}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return r.LookupHost(ctx, name)
}

func TestNames(t *testing.T) {
	w := newWorld(t, network.Config{}, nil)
	w.nat.resolver.Use(resolver.Conf{Servers: []netip.AddrPort{names(t, map[string]string{"www.example.org.": "203.0.113.5"})}, Timeout: 5 * time.Second, Attempts: 2})
	if got, err := w.lookUp(t, "www.example.org."); err != nil || !slices.Equal(got, []string{"203.0.113.5"}) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := w.lookUp(t, "host.openshell.internal."); err != nil || len(got) != 2 {
		t.Errorf("%v, %v", got, err)
	}
	var none *net.DNSError
	if got, err := w.lookUp(t, "nobody.example.org."); !errors.As(err, &none) || !none.IsNotFound {
		t.Errorf("%v, %v", got, err)
	}
}

// TestAllowEgress: with a list, nothing is reached but what a name on it led to, and what
// is refused is told with the name.
func TestAllowEgress(t *testing.T) {
	web, seen := echoTCP(t, "127.0.0.1:0")
	other, sawOther := echoTCP(t, "127.0.0.1:0")
	w := newWorld(t, network.Config{AllowEgress: []string{"api.example.com:80", "*.example.org", "rebound.example.net"}},
		map[uint16]string{80: web, 81: other})
	w.nat.resolver.Use(resolver.Conf{Timeout: 5 * time.Second, Attempts: 2, Servers: []netip.AddrPort{names(t, map[string]string{
		"api.example.com.": "203.0.113.1", "www.example.org.": "203.0.113.2", "evil.example.com.": "203.0.113.3",
		"rebound.example.net.": "127.0.0.1",
	})}})
	if conn, err := w.dialTCP("203.0.113.1:80"); err == nil {
		t.Error("an address was reached before its name was asked for")
		conn.Close()
	}
	for _, name := range []string{"api.example.com.", "www.example.org.", "rebound.example.net."} {
		if _, err := w.lookUp(t, name); err != nil {
			t.Error(err)
		}
	}
	if got, err := w.lookUp(t, "evil.example.com."); err == nil {
		t.Errorf("a name that is not allowed: %v", got)
	}
	for to, want := range map[string]bool{
		"203.0.113.1:80": true, "203.0.113.1:81": false, "203.0.113.2:80": true, "203.0.113.3:80": false,
	} {
		conn, err := w.dialTCP(to)
		if (err == nil) != want {
			t.Errorf("%s: %v", to, err)
		}
		if err == nil {
			conn.Close()
		}
	}
	if seen.Load() != 2 || sawOther.Load() != 0 {
		t.Errorf("the servers saw %d and %d connections", seen.Load(), sawOther.Load())
	}
	// A and AAAA
	w.refused.await(t, func(r network.Refused) bool { return r.What == "the name evil.example.com" && r.Times == 2 })
	w.refused.await(t, func(r network.Refused) bool { return r.What == "tcp 203.0.113.1:81" && r.Name == "api.example.com" })
	w.refused.await(t, func(r network.Refused) bool { return r.What == "tcp 203.0.113.3:80" && r.Name == "" })
	w.nat.open(policy.TCP, netip.MustParseAddrPort("127.0.0.1:80")) // what the allowed name led to
	w.refused.await(t, func(r network.Refused) bool { return r.What == "tcp 127.0.0.1:80" && r.Name == "rebound.example.net" })
}

// TestGivenSurvives: what one process handed out, the next one lets through.
func TestGivenSurvives(t *testing.T) {
	web, _ := echoTCP(t, "127.0.0.1:0")
	cfg := network.Config{AllowEgress: []string{"api.example.com"}}
	before := newWorld(t, cfg, nil)
	before.nat.resolver.Use(resolver.Conf{Timeout: 5 * time.Second, Attempts: 2, Servers: []netip.AddrPort{names(t, map[string]string{"api.example.com.": "203.0.113.1"})}})
	if _, err := before.lookUp(t, "api.example.com."); err != nil {
		t.Fatal(err)
	}
	var given []network.Given
	for deadline := time.Now().Add(20 * time.Second); len(given) == 0 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		before.refused.mu.Lock()
		for _, m := range before.refused.all {
			given = append(given, m.Given...)
		}
		before.refused.mu.Unlock()
	}
	after := newWorld(t, cfg, map[uint16]string{80: web})
	after.nat.Restore(given)
	conn, err := after.dialTCP("203.0.113.1:80")
	if err != nil {
		t.Fatalf("%v; given was %+v", err, given)
	}
	conn.Close()
}

// TestAllowHost: one port of the host's loopback, and no other.
func TestAllowHost(t *testing.T) {
	open, sawOpen := echoTCP(t, "127.0.0.1:0")
	closed, sawClosed := echoTCP(t, "127.0.0.1:0")
	port := netip.MustParseAddrPort(open).Port()
	w := newWorld(t, network.Config{AllowHost: []uint16{port}}, nil)
	for i := range 2 {
		host := network.Addresses.Host[i].Addr()
		conn, err := w.dialTCP(netip.AddrPortFrom(host, port).String())
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if conn, err := w.dialTCP(netip.AddrPortFrom(host, netip.MustParseAddrPort(closed).Port()).String()); err == nil {
			t.Error("a port that was not opened was reached")
			conn.Close()
		}
	}
	if sawOpen.Load() != 2 || sawClosed.Load() != 0 {
		t.Errorf("the servers saw %d and %d connections", sawOpen.Load(), sawClosed.Load())
	}
}

// TestForwards: connections and datagrams from the host into the guest and back.
func TestForwards(t *testing.T) {
	w := newWorld(t, network.Config{}, nil)
	at := full(network.Addresses.Guest[0].Addr(), 8000)
	l, err := gonet.ListenTCP(w.Stack, at, protocolOf(network.Addresses.Guest[0].Addr()))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(conn, conn); conn.Close() }()
		}
	}()
	udp, err := gonet.DialUDP(w.Stack, &at, nil, protocolOf(network.Addresses.Guest[0].Addr()))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		buf := make([]byte, 2000)
		for {
			n, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			udp.WriteTo(buf[:n], from)
		}
	}()
	ports := map[string]uint16{}
	for _, f := range []network.Forward{
		{Listen: "127.0.0.1:0", Protocol: "tcp", Guest: 8000}, {Listen: "127.0.0.1:0", Protocol: "udp", Guest: 8000},
		{Listen: "127.0.0.1:0", Protocol: "tcp", Guest: 8001},
	} {
		socket, port, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := (network.Forward{Listen: fmt.Sprint("127.0.0.1:", port), Protocol: f.Protocol}).Open(); err == nil || !strings.Contains(err.Error(), "taken") {
			t.Errorf("the port once more: %v", err)
		}
		ports[fmt.Sprint(f.Protocol, f.Guest)] = port
		if err := w.nat.Forward(f, socket); err != nil {
			t.Fatal(err)
		}
	}
	for _, protocol := range []string{"tcp", "udp"} {
		for range 3 {
			conn, err := net.Dial(protocol, fmt.Sprint("127.0.0.1:", ports[protocol+"8000"]))
			if err != nil {
				t.Fatal(err)
			}
			conn.SetDeadline(time.Now().Add(30 * time.Second))
			conn.Write([]byte("hello"))
			buf := make([]byte, 10)
			if n, err := conn.Read(buf); err != nil || string(buf[:n]) != "hello" {
				t.Errorf("%s: %q, %v", protocol, buf[:n], err)
			}
			conn.Close()
		}
	}
	conn, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", ports["tcp8001"])) // nobody listens in the guest
	if err == nil {
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(30 * time.Second))
		_, err = conn.Read(make([]byte, 1))
	}
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a port at which the guest does not listen: %v", err)
	}
}

// TestManyConnections: a thousand at once, and what is beyond the bound is refused at once.
func TestManyConnections(t *testing.T) {
	server, _ := echoTCP(t, "127.0.0.1:0")
	w := newWorld(t, network.Config{}, map[uint16]string{80: server})
	w.nat.conns.most = 1000
	var mu sync.Mutex
	var open []*gonet.TCPConn
	refused := 0
	var tries sync.WaitGroup
	slots := make(chan struct{}, 100)
	for range 1100 {
		tries.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			conn, err := w.dialTCP("203.0.113.5:80")
			if err == nil {
				conn.SetDeadline(time.Now().Add(time.Minute))
				conn.Write([]byte("x"))
				_, err = conn.Read(make([]byte, 1))
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				refused++
			} else {
				open = append(open, conn)
			}
		})
	}
	tries.Wait()
	if len(open) != 1000 || refused != 100 {
		t.Errorf("%d connections are open, %d were refused", len(open), refused)
	}
	for _, conn := range open {
		conn.Close()
	}
	for deadline := time.Now().Add(30 * time.Second); w.nat.conns.used.Load() > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are left", w.nat.conns.used.Load())
		}
	}
}

// TestFlowsAreBounded: more flows of datagrams than there may be, and the latest works.
func TestFlowsAreBounded(t *testing.T) {
	server, _ := echoUDP(t, "127.0.0.1:0")
	w := newWorld(t, network.Config{}, map[uint16]string{90: server})
	w.nat.flows.most = 20
	for i := range 100 {
		conn := w.dialUDP(t, "203.0.113.5:90")
		conn.Write([]byte("x"))
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Fatalf("flow %d: %v", i, err)
		}
	}
	w.nat.flows.mu.Lock()
	defer w.nat.flows.mu.Unlock()
	if n := len(w.nat.flows.all); n > 20 {
		t.Errorf("%d flows are kept", n)
	}
}

// TestManyRefusals: what the monitor is told stays small, whatever a guest tries.
func TestManyRefusals(t *testing.T) {
	c := &collected{}
	r := newReports(c.tell, noTraffic)
	for i := range 100_000 {
		r.refusedName(fmt.Sprintf("n%d.evil.example", i%1000))
	}
	r.send()
	c.mu.Lock()
	defer c.mu.Unlock()
	total := 0
	for _, m := range c.all {
		total += m.More
		for _, one := range m.Refused {
			total += one.Times
		}
		if n := len(network.Line(m)); len(m.Refused) > network.MaxRefused || n > network.MaxLine {
			t.Errorf("%d refusals in a line of %d bytes", len(m.Refused), n)
		}
	}
	if total != 100_000 {
		t.Errorf("%d refusals are told", total)
	}
}
