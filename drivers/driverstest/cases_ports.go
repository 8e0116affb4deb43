package driverstest

import (
	"fmt"
	"io"
	"net"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/testhost"
)

const echoPort = 8000

// withPorts gives the box a port of each protocol, and a workload that echoes.
func (b *box) withPorts() {
	if b.s.Netns == nil {
		b.runs("hold")
		return
	}
	b.runs("echo", fmt.Sprint(echoPort))
	b.inNetns(func() {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.t.Fatal(err)
		}
		defer l.Close()
		p, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			b.t.Fatal(err)
		}
		defer p.Close()
		b.spec.Ports = []drivers.Port{
			{Host: l.Addr().(*net.TCPAddr).AddrPort().Port(), Guest: echoPort},
			{Host: p.LocalAddr().(*net.UDPAddr).AddrPort().Port(), Guest: echoPort, Protocol: "udp"},
		}
	})
}

// echoed: what is sent to the ports of the host comes back from inside.
func (b *box) echoed() {
	b.t.Helper()
	for _, p := range b.spec.Ports {
		b.s.eventually(b.t, func() (err error) {
			b.inNetns(func() { err = echoedBy(p) })
			return err
		})
	}
}

func echoedBy(p drivers.Port) error {
	network, deadline := "tcp", time.Now().Add(5*time.Second)
	if p.Protocol != "" {
		network = p.Protocol
	}
	c, err := net.Dial(network, p.Address())
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := io.WriteString(c, "hello"); err != nil {
		return err
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
		return fmt.Errorf("port %s gave %q back, %v", p.Listen(), got, err)
	}
	return nil
}

// closed: nobody listens when the sandbox has stopped.
func (b *box) closed() {
	b.t.Helper()
	for _, p := range b.spec.Ports {
		if p.Protocol != "" {
			continue // nobody tells
		}
		b.s.eventually(b.t, func() (err error) {
			b.inNetns(func() {
				if c, failed := net.Dial("tcp", p.Address()); failed == nil {
					c.Close()
					err = fmt.Errorf("port %s is open although the sandbox has stopped", p.Listen())
				}
			})
			return err
		})
	}
}

// inNetns runs f where the engine publishes ports. Sockets that f makes are there.
func (b *box) inNetns(f func()) {
	b.t.Helper()
	if err := testhost.InNetns(b.s.Netns(), func() error { f(); return nil }); err != nil {
		b.t.Fatal(err)
	}
}
