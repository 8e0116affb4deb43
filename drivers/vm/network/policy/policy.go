package policy

import (
	"errors"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/network"
)

// Protocol is what a guest speaks to an address.
type Protocol string

// The protocols that a guest can have.
const (
	TCP  Protocol = "tcp"
	UDP  Protocol = "udp"
	ICMP Protocol = "icmp" // echo; has no port
)

// Policy is the rules of one VM. It is safe for concurrent use.
type Policy struct {
	AllowHost []uint16 // TCP ports of the host's loopback
	Egress    []network.Egress
	// Opened reports whether the resolver gave an address out for an allowed name, with
	// that port.
	Opened func(addr netip.Addr, port uint16) bool
	// Host judges an address by the state of this host: Live, but for tests.
	Host func(netip.Addr) error
}

// Refusal is why something is refused, in a few words.
type Refusal string

func (r Refusal) Error() string { return string(r) }

// Restricted reports whether there is an allow list.
func (p *Policy) Restricted() bool { return len(p.Egress) > 0 }

// loopback is where the ports of AllowHost are, in the order in which they are tried.
var loopback = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}

// Check returns the addresses to try for a guest that wants to reach to; or a Refusal. An
// error of another kind means that there is no way there, whoever asks.
//
//  1. the host's own ports that were opened, under their address in the VM's network
//  2. what is refused by its form
//  3. what is refused by the state of this host
//  4. the same for an IPv4 address in it
//  5. the allow list
func (p *Policy) Check(protocol Protocol, to netip.AddrPort) ([]netip.AddrPort, error) {
	addr := to.Addr().Unmap()
	if network.Addresses.Within(addr) {
		return p.within(protocol, addr, to.Port()) // 1
	}
	if err := p.Recheck(addr); err != nil { // 2, 3, 4
		return nil, err
	}
	if p.Restricted() && !p.allowed(addr, to.Port()) { // 5
		return nil, Refusal("no name that is allowed leads there")
	}
	return []netip.AddrPort{netip.AddrPortFrom(addr, to.Port())}, nil
}

// Recheck judges an address that Check let pass once more, by the state of this host: it
// may have become the host's own meanwhile, or another sandbox's. It does not look at the
// allow list, whose names expire, and lets pass the host's ports that were opened.
func (p *Policy) Recheck(addr netip.Addr) error {
	addr = addr.Unmap()
	if network.Addresses.Within(addr) {
		return nil
	}
	if err := p.outside(addr); err != nil {
		return err
	}
	for _, v4 := range embedded(addr) {
		if network.Addresses.Within(v4) {
			return Refusal("the VM's own network has no host there")
		}
		if err := p.outside(v4); err != nil && !errors.Is(err, unix.ENETUNREACH) { // the way there may be another host's
			return err
		}
	}
	return nil
}

func (p *Policy) within(protocol Protocol, addr netip.Addr, port uint16) ([]netip.AddrPort, error) {
	switch {
	case !network.Is(addr, network.Addresses.Host):
		return nil, Refusal("the VM's own network has no such service")
	case protocol != TCP || !slices.Contains(p.AllowHost, port):
		return nil, Refusal("this port of the host was not opened")
	}
	var all []netip.AddrPort
	for _, a := range loopback {
		all = append(all, netip.AddrPortFrom(a, port))
	}
	return all, nil
}

// outside judges an address by its form and by the state of this host.
func (p *Policy) outside(addr netip.Addr) error {
	if why := refused(addr); why != "" {
		return Refusal(why)
	}
	return p.Host(addr)
}

// allowed reports whether the allow list has the address, or a name that the resolver
// gave it out for.
func (p *Policy) allowed(addr netip.Addr, port uint16) bool {
	return p.Opened(addr, port) || slices.ContainsFunc(p.Egress, func(e network.Egress) bool { return e.Address == addr && e.Opens(port) })
}

// Asks reports whether a guest may have the addresses of a canonical name.
func (p *Policy) Asks(name string) bool {
	return !p.Restricted() || slices.ContainsFunc(p.Egress, func(e network.Egress) bool { return e.Matches(name) })
}
