package resolver

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"openshell-vm/drivers/vm/network"
)

// server is a name server on loopback, over UDP and TCP.
type server struct {
	addr netip.AddrPort
	// answer makes the answer; nil: none. It may be called by several goroutines.
	answer func(query []byte, q dnsmessage.Question, tcp bool) []byte

	mu    sync.Mutex
	asked []string
}

func newServer(t *testing.T, answer func(query []byte, q dnsmessage.Question, tcp bool) []byte) *server {
	t.Helper()
	s := &server{answer: answer}
	var l net.Listener
	var conn net.PacketConn
	for range 20 { // the same port of both
		var err error
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if conn, err = net.ListenPacket("udp", l.Addr().String()); err == nil {
			break
		}
		l.Close()
	}
	t.Cleanup(func() { l.Close(); conn.Close() })
	s.addr = netip.MustParseAddrPort(l.Addr().String())
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if a := s.reply(bytes.Clone(buf[:n]), false); a != nil {
				conn.WriteTo(a, from)
			}
		}
	}()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if query, err := ReadFramed(c); err == nil {
					c.Write(Framed(s.reply(query, true)))
				}
			}()
		}
	}()
	return s
}

func (s *server) reply(query []byte, tcp bool) []byte {
	var p dnsmessage.Parser
	if _, err := p.Start(query); err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	s.mu.Lock()
	s.asked = append(s.asked, q.Name.String())
	s.mu.Unlock()
	return s.answer(query, q, tcp)
}

// records makes an answer with addresses, or with an alias before them.
func records(query []byte, q dnsmessage.Question, alias string, addrs ...string) []byte {
	var p dnsmessage.Parser
	head, _ := p.Start(query)
	b := start(head, dnsmessage.RCodeSuccess)
	b.StartQuestions()
	b.Question(q)
	b.StartAnswers()
	name := q.Name
	if alias != "" {
		b.CNAMEResource(dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 60}, dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(alias)})
		name = dnsmessage.MustNewName(alias)
	}
	for _, a := range addrs {
		h, addr := dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 60}, netip.MustParseAddr(a)
		if addr.Is4() {
			b.AResource(h, dnsmessage.AResource{A: addr.As4()})
		} else {
			b.AAAAResource(h, dnsmessage.AAAAResource{AAAA: addr.As16()})
		}
	}
	message, err := b.Finish()
	if err != nil {
		panic(err)
	}
	return message
}

func question(t *testing.T, name string, kind dnsmessage.Type, edns bool) []byte {
	t.Helper()
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: 4711, RecursionDesired: true})
	b.StartQuestions()
	b.Question(dnsmessage.Question{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET})
	if edns {
		var h dnsmessage.ResourceHeader
		h.SetEDNS0(1232, dnsmessage.RCodeSuccess, false)
		b.StartAdditionals()
		b.OPTResource(h, dnsmessage.OPTResource{})
	}
	message, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return message
}

// resolver is one for servers, with a list of allowed names; none: all.
type recorded struct {
	*Resolver
	gave, refused []string
}

func newResolver(allowed []string, servers ...*server) *recorded {
	r := &recorded{}
	r.Resolver = &Resolver{
		Asks:    func(name string) bool { return allowed == nil || slices.Contains(allowed, name) },
		Refused: func(name string) { r.refused = append(r.refused, name) },
		Gave: func(name string, addr netip.Addr, ttl time.Duration) {
			r.gave = append(r.gave, fmt.Sprint(name, " ", addr, " ", ttl))
		},
	}
	c := Conf{Timeout: 300 * time.Millisecond, Attempts: 2}
	for _, s := range servers {
		c.Servers = append(c.Servers, s.addr)
	}
	r.Use(c)
	return r
}

func parsed(t *testing.T, answer []byte) dnsmessage.Message {
	t.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(answer); err != nil {
		t.Fatalf("%x: %v", answer, err)
	}
	if m.ID != 4711 || !m.Response {
		t.Errorf("%+v", m.Header)
	}
	return m
}

func TestAnswer(t *testing.T) {
	s := newServer(t, func(query []byte, q dnsmessage.Question, tcp bool) []byte {
		if q.Type == dnsmessage.TypeTXT {
			return records(query, q, "")
		}
		return records(query, q, "cdn.example.net.", "10.0.0.1", "2001:db8::1")
	})
	r := newResolver(nil, s)
	for _, tcp := range []bool{false, true} {
		r.gave = nil
		m := parsed(t, r.Answer(t.Context(), question(t, "WWW.Example.com.", dnsmessage.TypeA, false), tcp))
		if len(m.Answers) != 3 || m.RCode != dnsmessage.RCodeSuccess {
			t.Errorf("tcp %v: %+v", tcp, m)
		}
		if want := []string{"www.example.com 10.0.0.1 1m0s", "www.example.com 2001:db8::1 1m0s"}; !slices.Equal(r.gave, want) {
			t.Errorf("gave %v", r.gave)
		}
	}
	if m := parsed(t, r.Answer(t.Context(), question(t, "x.example.com.", dnsmessage.TypeTXT, true), false)); m.RCode != dnsmessage.RCodeSuccess {
		t.Errorf("%+v", m)
	}
	m := parsed(t, r.Answer(t.Context(), question(t, "host.openshell.internal.", dnsmessage.TypeA, false), false))
	if a, ok := m.Answers[0].Body.(*dnsmessage.AResource); !ok || netip.AddrFrom4(a.A) != network.Addresses.Host[0].Addr() {
		t.Errorf("%+v", m)
	}
	if m := parsed(t, r.Answer(t.Context(), question(t, "example.com.", typeAXFR, false), true)); m.RCode != dnsmessage.RCodeRefused {
		t.Errorf("a whole zone: %+v", m)
	}
	for _, garbage := range [][]byte{nil, {1}, bytes.Repeat([]byte{0xff}, 40), bytes.Repeat([]byte{0}, 12)} {
		r.Answer(t.Context(), garbage, false)
	}
}

// TestOnlyAllowedNames: what is not allowed is asked of nobody, and the guest is told
// that there is no such name, and if it understands that why.
func TestOnlyAllowedNames(t *testing.T) {
	s := newServer(t, func(query []byte, q dnsmessage.Question, tcp bool) []byte { return records(query, q, "", "10.0.0.1") })
	r := newResolver([]string{"api.example.com"}, s)
	if m := parsed(t, r.Answer(t.Context(), question(t, "API.example.com.", dnsmessage.TypeA, false), false)); len(m.Answers) != 1 {
		t.Errorf("%+v", m)
	}
	for _, edns := range []bool{false, true} {
		answer := r.Answer(t.Context(), question(t, "secrets.evil.net.", dnsmessage.TypeA, edns), false)
		if m := parsed(t, answer); m.RCode != dnsmessage.RCodeNameError || len(m.Answers) != 0 {
			t.Errorf("%+v", m)
		}
		if told := bytes.Contains(answer, []byte("not in --allow-egress")); told != edns {
			t.Errorf("told why: %v", told)
		}
	}
	if !slices.Equal(r.refused, []string{"secrets.evil.net", "secrets.evil.net"}) {
		t.Errorf("refused %v", r.refused)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(s.asked, func(n string) bool { return strings.Contains(n, "evil") }) {
		t.Errorf("the server was asked for %v", s.asked)
	}
}

// TestServersThatFail: another server is asked after one that is silent, can't or lies.
func TestServersThatFail(t *testing.T) {
	good := newServer(t, func(query []byte, q dnsmessage.Question, tcp bool) []byte { return records(query, q, "", "10.0.0.7") })
	for what, answer := range map[string]func(query []byte, q dnsmessage.Question, tcp bool) []byte{
		"silent": func([]byte, dnsmessage.Question, bool) []byte { return nil },
		"can't": func(query []byte, q dnsmessage.Question, tcp bool) []byte {
			var p dnsmessage.Parser
			head, _ := p.Start(query)
			return reply(head, &q, dnsmessage.RCodeServerFailure)
		},
		"another id": func(query []byte, q dnsmessage.Question, tcp bool) []byte {
			a := records(query, q, "", "6.6.6.6")
			a[0]++
			return a
		},
		"another question": func(query []byte, q dnsmessage.Question, tcp bool) []byte {
			q.Name = dnsmessage.MustNewName("other.example.")
			return records(query, q, "", "6.6.6.6")
		},
	} {
		t.Run(what, func(t *testing.T) {
			r := newResolver(nil, newServer(t, answer), good)
			m := parsed(t, r.Answer(t.Context(), question(t, "a.example.", dnsmessage.TypeA, false), false))
			if len(m.Answers) != 1 || m.Answers[0].Body.(*dnsmessage.AResource).A != [4]byte{10, 0, 0, 7} {
				t.Errorf("%+v", m)
			}
		})
	}
	r := newResolver(nil, newServer(t, func([]byte, dnsmessage.Question, bool) []byte { return nil }))
	if m := parsed(t, r.Answer(t.Context(), question(t, "a.example.", dnsmessage.TypeA, false), false)); m.RCode != dnsmessage.RCodeServerFailure {
		t.Errorf("%+v", m)
	}
}

func TestParseConf(t *testing.T) {
	c := ParseConf("# x\n; y\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\nnameserver nonsense\nsearch a.example b.example\n" +
		"options ndots:2 timeout:1 attempts:99 rotate\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n")
	if len(c.Servers) != 3 || c.Servers[1].Addr().Zone() != "eth0" || !slices.Equal(c.Search, []string{"a.example", "b.example"}) ||
		c.Timeout != time.Second || c.Attempts != 5 || !slices.Equal(c.Options, []string{"ndots:2"}) {
		t.Errorf("%+v", c)
	}
	if c := ParseConf(""); len(c.Servers) != 1 || !c.Servers[0].Addr().IsLoopback() || c.Attempts != 2 {
		t.Errorf("%+v", c)
	}
}

func TestNames(t *testing.T) {
	var n Names
	addr := netip.MustParseAddr("10.0.0.1")
	if until := n.Add("a.example", addr, time.Second); time.Until(until) < leastTime-time.Minute {
		t.Errorf("known until %v", until)
	}
	n.Restore("old.example", addr, time.Now().Add(-time.Second))
	if got := n.Of(netip.MustParseAddr("::ffff:10.0.0.1")); !slices.Equal(got, []string{"a.example"}) {
		t.Errorf("%v", got)
	}
	for i := range 100 {
		n.Add(fmt.Sprintf("n%d.example", i), addr, time.Hour)
	}
	if got := n.Of(addr); len(got) != namesEach || got[namesEach-1] != "n99.example" {
		t.Errorf("%v", got)
	}
	var b [4]byte
	for i := range 3 * mostAddresses {
		b = [4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)}
		n.Add("many.example", netip.AddrFrom4(b), time.Minute)
	}
	if len(n.known) > mostAddresses || len(n.Of(netip.AddrFrom4(b))) != 1 {
		t.Errorf("%d addresses are known, the last one among them: %v", len(n.known), n.Of(netip.AddrFrom4(b)))
	}
}

// TestNamesOfOneAddress: however many names share an address, the one whose rule opens a
// port is not pushed out, and the port stays open for as long as the longest of its names.
func TestNamesOfOneAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := Names{Egress: []network.Egress{{Name: "git.example", Port: 22}, {Name: "example.org", Below: true, Port: 443}}}
		addr := netip.MustParseAddr("10.0.0.1")
		n.Add("git.example", addr, time.Hour)
		for i := range 100 {
			n.Add(fmt.Sprintf("n%d.example.org", i), addr, time.Duration(100-i)*time.Hour)
			n.Add("other.net", addr, 200*time.Hour)
		}
		open := func() (ports []uint16) {
			for _, port := range []uint16{22, 443, 80} {
				if n.Opened(addr, port) {
					ports = append(ports, port)
				}
			}
			return ports
		}
		for _, step := range []struct {
			after time.Duration
			want  []uint16
		}{{time.Minute, []uint16{22, 443}}, {time.Hour, []uint16{443}}, {22 * time.Hour, []uint16{443}}, {time.Hour, nil}} {
			time.Sleep(step.after)
			if got := open(); !slices.Equal(got, step.want) {
				t.Errorf("open after %v more: %v, not %v", step.after, got, step.want)
			}
		}
	})
}

// TestRulesAreBounded: many rules for many addresses are forgotten, too.
func TestRulesAreBounded(t *testing.T) {
	var n Names
	for port := range 1000 {
		n.Egress = append(n.Egress, network.Egress{Name: "a.example", Port: uint16(port + 1)})
	}
	for i := range 200 {
		n.Add("a.example", netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), time.Duration(i+10)*time.Minute)
	}
	sum := 0
	for _, e := range n.known {
		sum += len(e.rules)
	}
	if sum != n.opened || sum > mostOpened+1000 || !n.Opened(netip.MustParseAddr("10.0.0.199"), 1000) {
		t.Errorf("%d rules are open, %d counted", sum, n.opened)
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte{0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'a', 0, 0, 1, 0, 1})
	f.Fuzz(func(t *testing.T, query []byte) {
		r := &Resolver{Asks: func(string) bool { return false }, Refused: func(string) {}}
		r.Answer(t.Context(), query, false)
	})
}
