package policy

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"openshell-vm/internal/netlink"

	"golang.org/x/sys/unix"
)

// route is what the kernel would do with a packet.
type route struct {
	kind      uint8 // unix.RTN_*
	link      uint32
	onLink    bool // no router in between
	unreached bool // there is no route
}

// lookUp asks the kernel for the route to addr. The kernel heeds everything: addresses,
// tables, rules.
func lookUp(addr netip.Addr) (route, error) {
	family, data := unix.AF_INET, addr.AsSlice()
	if addr.Is6() {
		family = unix.AF_INET6
	}
	body := make([]byte, unix.SizeofRtMsg)
	body[0], body[1] = byte(family), byte(len(data)*8)
	body = netlink.AppendAttribute(body, unix.RTA_DST, data)
	answers, err := netlink.Ask(unix.RTM_GETROUTE, body)
	switch {
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH):
		return route{unreached: true}, nil
	case err != nil:
		return route{}, err
	}
	for _, m := range answers {
		if m.Header.Type != unix.RTM_NEWROUTE || len(m.Data) < unix.SizeofRtMsg {
			continue
		}
		r := route{kind: m.Data[7], onLink: true}
		for kind, value := range netlink.Attributes(m.Data[unix.SizeofRtMsg:]) {
			switch kind {
			case unix.RTA_OIF:
				r.link = netlink.Uint32(value)
			case unix.RTA_GATEWAY, unix.RTA_VIA:
				r.onLink = false
			}
		}
		return r, nil
	}
	return route{}, errors.New("the kernel told no route")
}

// linkKind returns what kind of virtual interface an interface is, such as "bridge" or
// "veth"; "" for a physical one.
func linkKind(index uint32) (string, error) {
	body := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(body[4:], index)
	answers, err := netlink.Ask(unix.RTM_GETLINK, body)
	if err != nil {
		return "", err
	}
	for _, m := range answers {
		if m.Header.Type != unix.RTM_NEWLINK || len(m.Data) < unix.SizeofIfInfomsg {
			continue
		}
		for kind, info := range netlink.Attributes(m.Data[unix.SizeofIfInfomsg:]) {
			if kind != unix.IFLA_LINKINFO {
				continue
			}
			for kind, value := range netlink.Attributes(info) {
				if kind == unix.IFLA_INFO_KIND {
					return unix.ByteSliceToString(value), nil
				}
			}
		}
		return "", nil
	}
	return "", errors.New("the kernel told nothing of the interface")
}
