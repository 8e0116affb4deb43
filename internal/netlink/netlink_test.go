package netlink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func collect(b []byte) (all string) {
	for kind, value := range Attributes(b) {
		all += fmt.Sprintf("%d:%x ", kind, value)
	}
	return strings.TrimSpace(all)
}

// TestAttributes: what was appended is read back, and a torn end ends it.
func TestAttributes(t *testing.T) {
	b := AppendAttribute(nil, 7, []byte{1, 2, 3, 4, 5})
	b = AppendUint32(b, 9|unix.NLA_F_NESTED, 0)
	b = AppendAttribute(b, 8, nil)
	const want = "7:0102030405 9:00000000 8:"
	if got := collect(b); got != want || len(b)%unix.NLMSG_ALIGNTO != 0 {
		t.Errorf("%q, %d bytes", got, len(b))
	}
	for n := range b {
		if got := collect(b[:n]); !strings.HasPrefix(want, got) || got == want {
			t.Errorf("the first %d bytes: %q", n, got)
		}
	}
	for _, size := range []uint16{0, 1, 3, 5, 0xffff} { // of an attribute of 4 bytes
		if got := collect(binary.NativeEndian.AppendUint16([]byte{}, size)); got != "" {
			t.Errorf("a size of %d: %q", size, got)
		}
		if got := collect(append(binary.NativeEndian.AppendUint16(nil, size), 1, 0)); got != "" {
			t.Errorf("a size of %d: %q", size, got)
		}
	}
}

// TestAsk asks for lo by its index, and for an interface that is none.
func TestAsk(t *testing.T) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Skip("there is no lo: ", err)
	}
	body := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(body[4:], uint32(lo.Index))
	answers, err := Ask(unix.RTM_GETLINK, body)
	if err != nil || len(answers) == 0 {
		t.Fatalf("%v, %v", answers, err)
	}
	name := ""
	for kind, value := range Attributes(answers[0].Data[unix.SizeofIfInfomsg:]) {
		if kind == unix.IFLA_IFNAME {
			name = unix.ByteSliceToString(value)
		}
	}
	if name != "lo" {
		t.Errorf("it is called %q", name)
	}
	binary.NativeEndian.PutUint32(body[4:], 1<<30)
	if _, err := Ask(unix.RTM_GETLINK, body); !errors.Is(err, unix.ENODEV) {
		t.Errorf("no such interface: %v", err)
	}
}

// TestChange: the kernel's refusal comes back.
func TestChange(t *testing.T) {
	body := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(body[4:], 1<<30)
	if err := Change(unix.RTM_NEWLINK, 0, body); !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EPERM) {
		t.Errorf("no such interface: %v", err)
	}
}
