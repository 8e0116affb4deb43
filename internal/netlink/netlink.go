// Package netlink asks the kernel about links, addresses and routes, and changes them.
package netlink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// timeout is how long the kernel may take to answer.
const timeout = 2 * time.Second

// Ask sends a request, such as unix.RTM_GETROUTE, and returns the first messages of the
// answer. The kernel's refusal is a unix.Errno.
func Ask(kind uint16, body []byte) ([]syscall.NetlinkMessage, error) { return request(kind, 0, body) }

// Change sends a request, such as unix.RTM_NEWADDR, and waits until the kernel has done it.
// The kernel's refusal is a unix.Errno.
func Change(kind, flags uint16, body []byte) error {
	answers, err := request(kind, unix.NLM_F_ACK|flags, body)
	if err != nil {
		return err
	}
	if len(answers) == 0 || answers[0].Header.Type != unix.NLMSG_ERROR {
		return errors.New("netlink: an answer that is none")
	}
	return nil
}

func request(kind, flags uint16, body []byte) ([]syscall.NetlinkMessage, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	defer unix.Close(fd)
	limit := unix.NsecToTimeval(int64(timeout))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	if err := unix.Sendto(fd, message(kind, flags, body), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	answer := make([]byte, 64<<10)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
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

func message(kind, flags uint16, body []byte) []byte {
	head := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(body))
	binary.NativeEndian.PutUint32(head, uint32(cap(head)))
	binary.NativeEndian.PutUint16(head[4:], kind)
	binary.NativeEndian.PutUint16(head[6:], unix.NLM_F_REQUEST|flags)
	return append(head, body...)
}

// AppendAttribute appends an attribute to a request's body, with its padding.
func AppendAttribute(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	for len(b)%unix.NLMSG_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}

// AppendUint32 appends an attribute that is a number.
func AppendUint32(b []byte, kind uint16, value uint32) []byte {
	return AppendAttribute(b, kind, binary.NativeEndian.AppendUint32(nil, value))
}

// Attributes ranges over the attributes in b, each by its kind and value. It ends at one
// that does not fit.
func Attributes(b []byte) iter.Seq2[uint16, []byte] {
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

// Uint32 reads an attribute that is a number; 0 if it is none.
func Uint32(value []byte) uint32 {
	if len(value) != 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(value)
}
