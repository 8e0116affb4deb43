package policy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// route is what the kernel would do with a packet.
type route struct {
	kind      uint8 // unix.RTN_*
	link      uint32
	onLink    bool // no router in between
	unreached bool // there is no route
}

// netlinkTimeout is how long the kernel may take to answer.
const netlinkTimeout = 2 * time.Second

// lookUp asks the kernel for the route to addr. The kernel heeds everything: addresses,
// tables, rules.
func lookUp(addr netip.Addr) (route, error) {
	family, data := unix.AF_INET, addr.AsSlice()
	if addr.Is6() {
		family = unix.AF_INET6
	}
	body := make([]byte, unix.SizeofRtMsg)
	body[0], body[1] = byte(family), byte(len(data)*8)
	body = appendAttribute(body, unix.RTA_DST, data)
	answers, err := ask(unix.RTM_GETROUTE, body)
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
		for kind, value := range attributes(m.Data[unix.SizeofRtMsg:]) {
			switch kind {
			case unix.RTA_OIF:
				r.link = number(value)
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
	answers, err := ask(unix.RTM_GETLINK, body)
	if err != nil {
		return "", err
	}
	for _, m := range answers {
		if m.Header.Type != unix.RTM_NEWLINK || len(m.Data) < unix.SizeofIfInfomsg {
			continue
		}
		for kind, info := range attributes(m.Data[unix.SizeofIfInfomsg:]) {
			if kind != unix.IFLA_LINKINFO {
				continue
			}
			for kind, value := range attributes(info) {
				if kind == unix.IFLA_INFO_KIND {
					return unix.ByteSliceToString(value), nil
				}
			}
		}
		return "", nil
	}
	return "", errors.New("the kernel told nothing of the interface")
}

// ask sends one request to the kernel and returns its answer.
func ask(kind uint16, body []byte) ([]syscall.NetlinkMessage, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("ask the kernel for routes: %w", err)
	}
	defer unix.Close(fd)
	limit := unix.NsecToTimeval(int64(netlinkTimeout))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return nil, err
	}
	head := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(body))
	binary.NativeEndian.PutUint32(head, uint32(cap(head)))
	binary.NativeEndian.PutUint16(head[4:], kind)
	binary.NativeEndian.PutUint16(head[6:], unix.NLM_F_REQUEST)
	if err := unix.Sendto(fd, append(head, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("ask the kernel for routes: %w", err)
	}
	answer := make([]byte, 64<<10)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return nil, fmt.Errorf("ask the kernel for routes: %w", err)
	}
	messages, err := syscall.ParseNetlinkMessage(answer[:n])
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		if m.Header.Type == unix.NLMSG_ERROR && len(m.Data) >= 4 {
			if errno := -int32(binary.NativeEndian.Uint32(m.Data)); errno != 0 {
				return nil, unix.Errno(errno)
			}
		}
	}
	return messages, nil
}

func appendAttribute(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	for len(b)%unix.NLMSG_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}

// attributes ranges over the attributes in b.
func attributes(b []byte) func(yield func(kind uint16, value []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofRtAttr {
			size := int(binary.NativeEndian.Uint16(b))
			kind := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if size < unix.SizeofRtAttr || size > len(b) || !yield(kind, b[unix.SizeofRtAttr:size]) {
				return
			}
			b = b[min(len(b), (size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1)):]
		}
	}
}

func number(b []byte) uint32 {
	if len(b) != 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}
