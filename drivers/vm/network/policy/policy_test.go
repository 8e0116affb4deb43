package policy

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/network"
	"openshell-vm/drivers/vm/network/resolver"
)

// anywhere is a host from which everything can be reached, and that is nobody.
func anywhere(netip.Addr) error { return nil }

func noNames(netip.Addr, uint16) bool { return false }

func isRefusal(err error) bool {
	var r Refusal
	return errors.As(err, &r)
}

// TestForms: what is refused wherever the host stands.
func TestForms(t *testing.T) {
	p := &Policy{Host: anywhere, Opened: noNames}
	refused := []string{
		"0.0.0.0", "0.255.1.2", "127.0.0.1", "127.255.255.254", "169.254.0.1", "169.254.169.254", "169.254.170.2",
		"224.0.0.251", "239.255.255.250", "240.1.2.3", "255.255.255.255", "100.100.100.200", "168.63.129.16", "192.0.0.192",
		"::", "::1", "fe80::1", "fe80::a9fe:a9fe", "febf::1", "fec0::1", "ff02::1", "ff0e::1", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254",
		"fd00:42::42", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
		"::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
		"64:ff9b:1::a9fe:a9fe", "2002:7f00:1::1", "2002:a9fe:a9fe::", "2001:db8::5efe:7f00:1", "2001:db8::200:5efe:169.254.169.254",
		"64:ff9b::192.168.127.254",
		"192.168.127.1", "192.168.127.99", "192.168.127.254", "fd6f:7065:6e73:686c::fe", "fd6f:7065:6e73:686c:1::",
	}
	for _, text := range refused {
		for _, protocol := range []Protocol{TCP, UDP, ICMP} {
			if to, err := p.Check(protocol, netip.AddrPortFrom(netip.MustParseAddr(text), 80)); !isRefusal(err) {
				t.Errorf("%s %s: %v, %v", protocol, text, to, err)
			}
		}
	}
	for _, text := range []string{"1.1.1.1", "10.0.0.1", "192.168.0.1", "100.64.0.1", "172.17.0.5", "2606:4700::1111", "fd12::1", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "2002:101:101::1"} {
		addr := netip.MustParseAddr(text)
		to, err := p.Check(TCP, netip.AddrPortFrom(addr, 80))
		if err != nil || len(to) != 1 || to[0] != netip.AddrPortFrom(addr.Unmap(), 80) {
			t.Errorf("%s: %v, %v", text, to, err)
		}
	}
	if _, err := p.Check(TCP, netip.AddrPortFrom(netip.MustParseAddr("2001:db8::1").WithZone("eth0"), 80)); !isRefusal(err) {
		t.Errorf("an address with a zone: %v", err)
	}
}

// TestTheHostsWord: what the host refuses is refused in the forms that carry it, too; that
// there is no way to an IPv4 address says nothing about the way to its IPv6 form.
func TestTheHostsWord(t *testing.T) {
	p := &Policy{Opened: noNames, Host: func(addr netip.Addr) error {
		switch addr {
		case netip.MustParseAddr("10.1.1.1"):
			return Refusal(theHost)
		case netip.MustParseAddr("10.2.2.2"):
			return unix.ENETUNREACH
		}
		return nil
	}}
	for text, want := range map[string]bool{
		"10.1.1.1": true, "::ffff:10.1.1.1": true, "64:ff9b::10.1.1.1": true, "2002:a01:101::5": true, "2001:db8::5efe:10.1.1.1": true,
		"64:ff9b::10.2.2.2": false, "10.3.3.3": false,
	} {
		if _, err := p.Check(TCP, netip.AddrPortFrom(netip.MustParseAddr(text), 80)); isRefusal(err) != want || err != nil && !want {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := p.Check(TCP, netip.MustParseAddrPort("10.2.2.2:80")); !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("without a way: %v", err)
	}
}

func TestAllowHost(t *testing.T) {
	p := &Policy{Host: anywhere, Opened: noNames, AllowHost: []uint16{8080}}
	for i := range 2 {
		host := network.Addresses.Host[i].Addr()
		to, err := p.Check(TCP, netip.AddrPortFrom(host, 8080))
		if err != nil || len(to) != 2 || to[0].String() != "127.0.0.1:8080" || to[1].String() != "[::1]:8080" {
			t.Errorf("%v: %v, %v", host, to, err)
		}
		for _, port := range []uint16{8081, 80, 22} {
			if _, err := p.Check(TCP, netip.AddrPortFrom(host, port)); !isRefusal(err) {
				t.Errorf("%v:%d: %v", host, port, err)
			}
		}
		if _, err := p.Check(UDP, netip.AddrPortFrom(host, 8080)); !isRefusal(err) {
			t.Errorf("%v:8080/udp: %v", host, err)
		}
	}
	for _, text := range []string{"127.0.0.1:8080", "[::1]:8080", "192.168.127.1:8080"} {
		if _, err := p.Check(TCP, netip.MustParseAddrPort(text)); !isRefusal(err) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func egress(t *testing.T, texts ...string) (all []network.Egress) {
	t.Helper()
	for _, text := range texts {
		e, err := network.ParseEgress(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func TestAllowEgress(t *testing.T) {
	given := map[string][]string{
		"10.0.0.1": {"api.example.com"}, "10.0.0.2": {"www.example.org"}, "10.0.0.3": {"evil.net", "a.b.example.org"},
		"10.0.0.4": {"example.org"}, "127.0.0.1": {"api.example.com"}, "10.0.0.6": {"notexample.org"},
	}
	p := &Policy{
		Host:      anywhere,
		Egress:    egress(t, "API.example.com.:443", "*.example.org", "10.9.9.9:53", "2001:db8::5", "[2001:db8::6]:80"),
		AllowHost: []uint16{11434},
	}
	names := &resolver.Names{Egress: p.Egress}
	for addr, all := range given {
		for _, name := range all {
			names.Add(name, netip.MustParseAddr(addr), time.Minute)
		}
	}
	p.Opened = names.Opened
	for text, want := range map[string]bool{
		"10.0.0.1:443": true, "10.0.0.1:80": false, "10.0.0.2:80": true, "10.0.0.3:1": true, "10.0.0.4:80": false, "10.0.0.5:443": false,
		"10.0.0.6:80":   false,
		"127.0.0.1:443": false, // a name that is allowed leads to the host
		"10.9.9.9:53":   true, "10.9.9.9:54": false, "[2001:db8::5]:1": true, "[2001:db8::6]:80": true, "[2001:db8::6]:81": false,
		"192.168.127.254:11434": true, "192.168.127.254:1": false,
	} {
		if _, err := p.Check(TCP, netip.MustParseAddrPort(text)); (err == nil) != want || err != nil && !isRefusal(err) {
			t.Errorf("%s: %v", text, err)
		}
	}
	for name, want := range map[string]bool{
		"api.example.com": true, "www.example.org": true, "a.b.example.org": true, "example.org": false, "example.com": false, "xexample.org": false,
	} {
		if p.Asks(name) != want {
			t.Errorf("asking for %s: %v", name, !want)
		}
	}
}

// TestLive asks the kernel of this host: its own addresses, in every form, are refused.
func TestLive(t *testing.T) {
	own, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range own {
		addr, ok := netip.AddrFromSlice(a.(*net.IPNet).IP)
		if !ok {
			t.Fatal(a)
		}
		if err := Live(addr.Unmap()); !isRefusal(err) || !strings.Contains(err.Error(), "host") {
			t.Errorf("%s: %v", addr, err)
		}
	}
	for _, text := range []string{"127.9.9.9", "224.0.0.1", "255.255.255.255"} { // by their routes alone
		r, err := lookUp(netip.MustParseAddr(text))
		if err == nil {
			err = judge(r, netip.MustParseAddr(text))
		}
		if err == nil {
			t.Errorf("%s is not refused by its route %+v", text, r)
		}
	}
}

func TestParseEgress(t *testing.T) {
	for _, text := range []string{
		"", ":443", "a b", "*.", "*", "a.*.com", "x*.com", "example.com:0", "example.com:65536", "example.com:http", "-:x", "..", "a..b",
		"[::1", "fe80::1%eth0", "1.2.3", "1.2.3.4.5", "bücher.example", "http://example.com", strings.Repeat("a", 64) + ".com", "example.com/path",
	} {
		if e, err := network.ParseEgress(text); err == nil {
			t.Errorf("%q is %+v", text, e)
		}
	}
	for text, want := range map[string]network.Egress{
		"example.com":       {Name: "example.com"},
		"Example.COM.:8080": {Name: "example.com", Port: 8080},
		"*.example.com:1":   {Name: "example.com", Below: true, Port: 1},
		"_srv.a-b.net":      {Name: "_srv.a-b.net"},
		"localhost":         {Name: "localhost"},
		"10.0.0.1:1":        {Address: netip.MustParseAddr("10.0.0.1"), Port: 1},
		"::ffff:10.0.0.1":   {Address: netip.MustParseAddr("10.0.0.1")},
	} {
		if e, err := network.ParseEgress(text); err != nil || e != want {
			t.Errorf("%q: %+v, %v", text, e, err)
		}
	}
}
