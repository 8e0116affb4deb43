// Package card sets up the guest's network interfaces: its card, and lo.
package card

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/guest"
	"openshell-vm/internal/netlink"
)

// Connect sets up the guest's card as the host wants it; a nil spec wants none. lo is up
// before it. Without IPv6 in its kernel the guest has IPv4 alone.
func Connect(spec *guest.Network) error {
	if spec == nil {
		return nil
	}
	link, err := find(spec.MAC)
	if err != nil {
		return err
	}
	if err := raise(link.Index, spec.MTU); err != nil {
		return fmt.Errorf("bring %s up with an MTU of %d: %w", link.Name, spec.MTU, err)
	}
	for _, text := range spec.Addresses {
		prefix, err := netip.ParsePrefix(text)
		if err == nil {
			err = address(link.Index, prefix)
		}
		if err != nil && !lacksIPv6(prefix.Addr(), err) {
			return fmt.Errorf("give %s the address %s: %w", link.Name, text, err)
		}
	}
	for _, text := range spec.Gateways {
		addr, err := netip.ParseAddr(text)
		if err == nil {
			err = gateway(link.Index, addr)
		}
		if err != nil && !lacksIPv6(addr, err) {
			return fmt.Errorf("make %s the gateway: %w", text, err)
		}
	}
	return nil
}

// lacksIPv6 reports whether err says that the kernel was built, or told, to have no IPv6.
func lacksIPv6(addr netip.Addr, err error) bool {
	return addr.Is6() && (errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EACCES) ||
		errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENETUNREACH))
}

// find returns the interface with an address.
func find(mac string) (*net.Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, i := range all {
		if i.HardwareAddr.String() == mac {
			return &i, nil
		}
	}
	return nil, fmt.Errorf("this guest's kernel has no network card with the address %s: it has no driver for virtio-net", mac)
}

// raise brings an interface up, with an MTU if that is not 0.
func raise(index, mtu int) error {
	body := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(body[4:], uint32(index))
	binary.NativeEndian.PutUint32(body[8:], unix.IFF_UP)
	binary.NativeEndian.PutUint32(body[12:], unix.IFF_UP)
	if mtu > 0 {
		body = netlink.AppendUint32(body, unix.IFLA_MTU, uint32(mtu))
	}
	return netlink.Change(unix.RTM_NEWLINK, 0, body)
}

// address gives an interface an address. Nobody else has it, so nobody is asked first.
func address(index int, prefix netip.Prefix) error {
	addr := prefix.Addr().AsSlice()
	body := []byte{family(prefix.Addr()), byte(prefix.Bits()), unix.IFA_F_NODAD, unix.RT_SCOPE_UNIVERSE, 0, 0, 0, 0}
	binary.NativeEndian.PutUint32(body[4:], uint32(index))
	body = netlink.AppendAttribute(body, unix.IFA_LOCAL, addr)
	body = netlink.AppendAttribute(body, unix.IFA_ADDRESS, addr)
	return netlink.Change(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, body)
}

// gateway leads all other addresses of a family to one.
func gateway(index int, addr netip.Addr) error {
	body := make([]byte, unix.SizeofRtMsg)
	body[0], body[4], body[5] = family(addr), unix.RT_TABLE_MAIN, unix.RTPROT_STATIC
	body[6], body[7] = unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST
	body = netlink.AppendAttribute(body, unix.RTA_GATEWAY, addr.AsSlice())
	body = netlink.AppendUint32(body, unix.RTA_OIF, uint32(index))
	return netlink.Change(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, body)
}

func family(addr netip.Addr) byte {
	if addr.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// RaiseLoopback brings lo up. A kernel without a network has no lo; that is not an
// error.
func RaiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr); err != nil {
		return nil
	}
	ifr.SetUint16(ifr.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	return nil
}
