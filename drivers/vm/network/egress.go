package network

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Egress is one place that a guest may reach.
type Egress struct {
	Name    string     // in lower case, without a dot at the end; "" for an address
	Below   bool       // all names below Name, and not Name itself
	Address netip.Addr // the zero Addr for a name
	Port    uint16     // 0 for all
}

// ParseEgress reads NAME[:PORT], where NAME is a host's name, *.DOMAIN for all names below
// DOMAIN, or an address.
func ParseEgress(s string) (Egress, error) {
	name, port := s, ""
	if addr, err := netip.ParseAddr(s); err == nil { // an IPv6 address has colons itself
		return Egress{Address: addr.Unmap()}, noZone(addr)
	}
	var e Egress
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		name, port = s[:i], s[i+1:]
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return e, fmt.Errorf("%q is no port in %q", port, s)
		}
		e.Port = uint16(n)
	}
	if inner, ok := strings.CutPrefix(name, "["); ok {
		name = strings.TrimSuffix(inner, "]")
		if _, err := netip.ParseAddr(name); err != nil || !strings.HasSuffix(inner, "]") {
			return e, fmt.Errorf("%q is no address in %q", name, s)
		}
	}
	if addr, err := netip.ParseAddr(name); err == nil {
		e.Address = addr.Unmap()
		return e, noZone(addr)
	}
	e.Name = Canonical(name)
	if rest, ok := strings.CutPrefix(e.Name, "*."); ok {
		e.Name, e.Below = rest, true
	}
	return e, checkName(e.Name, s)
}

func noZone(addr netip.Addr) error {
	if addr.Zone() != "" {
		return fmt.Errorf("%s has a zone: no link-local address can be reached", addr)
	}
	return nil
}

func checkName(name, whole string) error {
	if len(name) > 253 {
		return fmt.Errorf("the name %q is longer than 253 characters", whole)
	}
	for label := range strings.SplitSeq(name, ".") {
		const letters = "abcdefghijklmnopqrstuvwxyz0123456789-_"
		switch {
		case strings.Contains(label, "*"):
			return fmt.Errorf("in %q, * may only be the whole first part, as in *.example.com", whole)
		case label == "" || len(label) > 63 || strings.Trim(label, letters) != "":
			return fmt.Errorf("%q is no name of a host", whole)
		}
	}
	if last := name[strings.LastIndexByte(name, '.')+1:]; strings.Trim(last, "0123456789") == "" {
		return fmt.Errorf("%q is neither a name nor an address", whole)
	}
	return nil
}

// Canonical returns a name as names are compared. Only the letters of ASCII have two
// cases: others are other names for a name server, even if they look alike.
func Canonical(name string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, strings.TrimSuffix(name, "."))
}

// Matches reports whether a canonical name is allowed, whatever the port. What is no name
// of a host is not.
func (e Egress) Matches(name string) bool {
	switch {
	case e.Name == "":
		return false
	case e.Below:
		return strings.HasSuffix(name, "."+e.Name) && checkName(name, name) == nil
	}
	return name == e.Name
}

// Opens reports whether the port is allowed.
func (e Egress) Opens(port uint16) bool { return e.Port == 0 || e.Port == port }
