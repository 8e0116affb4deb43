package copying

import (
	"fmt"
	"io"
	"net"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/fixture"
	"openshell-vm/drivers/driverstest/testhost"
)

const echoPort = 8000

// withPorts gives the box a port of each protocol, and a workload that echoes.
func withPorts(b *fixture.Box) {
	if b.Suite.Netns == nil {
		b.Runs("hold")
		return
	}
	b.Runs("echo", fmt.Sprint(echoPort))
	inNetns(b, func() {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.T.Fatal(err)
		}
		defer l.Close()
		p, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			b.T.Fatal(err)
		}
		defer p.Close()
		b.Spec.Ports = []drivers.Port{
			{Host: l.Addr().(*net.TCPAddr).AddrPort().Port(), Guest: echoPort},
			{Host: p.LocalAddr().(*net.UDPAddr).AddrPort().Port(), Guest: echoPort, Protocol: "udp"},
		}
	})
}

// echoed: what is sent to the ports of the host comes back from inside.
func echoed(b *fixture.Box) {
	b.T.Helper()
	for _, p := range b.Spec.Ports {
		b.Suite.Eventually(b.T, func() (err error) {
			inNetns(b, func() { err = echoedBy(p) })
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
func closed(b *fixture.Box) {
	b.T.Helper()
	for _, p := range b.Spec.Ports {
		if p.Protocol != "" {
			continue // nobody tells
		}
		b.Suite.Eventually(b.T, func() (err error) {
			inNetns(b, func() {
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
func inNetns(b *fixture.Box, f func()) {
	b.T.Helper()
	if err := testhost.InNetns(b.Suite.Netns(), func() error { f(); return nil }); err != nil {
		b.T.Fatal(err)
	}
}
