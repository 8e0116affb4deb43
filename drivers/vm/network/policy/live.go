package policy

import (
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Live judges an address by the state of this host at this moment. It returns a Refusal,
// or another error if there is no way there, or if the kernel does not tell.
func Live(addr netip.Addr) error {
	own, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("the host's own addresses are not known: %w", err)
	}
	for _, a := range own {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().WithZone("").Unmap() == addr {
			return Refusal(theHost)
		}
	}
	r, err := lookUp(addr)
	if err != nil {
		return err
	}
	return judge(r, addr)
}

// uplinks are addresses of the internet: the way to them is the host's way out. Nothing
// is sent there.
var uplinks = map[bool]netip.Addr{
	false: netip.MustParseAddr("8.8.8.8"),
	true:  netip.MustParseAddr("2001:4860:4860::8888"),
}

// judge judges by a route. A bridge or veth that is not the way out has sandboxes behind
// it, or other machines of this host's own.
func judge(r route, addr netip.Addr) error {
	switch {
	case r.unreached:
		return unix.ENETUNREACH
	case r.kind == unix.RTN_LOCAL:
		return Refusal(theHost)
	case r.kind != unix.RTN_UNICAST:
		return Refusal("broadcast, multicast and blocked addresses are refused")
	case !r.onLink:
		return nil
	}
	kind, err := linkKind(r.link)
	if err != nil || kind != "bridge" && kind != "veth" {
		return err
	}
	out, err := lookUp(uplinks[addr.Is6()])
	if err != nil || out.link == r.link {
		return err
	}
	return Refusal("other sandboxes' networks on this host are refused")
}
