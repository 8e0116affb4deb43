package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/vocab"
)

// maxPorts bounds the ports of one sandbox. Each takes a descriptor while they are chosen.
const maxPorts = 256

// checkPorts refuses ports that no driver could publish.
func checkPorts(q *api.CreateRequest) error {
	invalid := func(hint, format string, args ...any) error {
		return &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf(format, args...), Hint: hint}
	}
	if len(q.Ports) > maxPorts {
		return invalid("publish fewer", "%d ports are more than the %d that a sandbox may have", len(q.Ports), maxPorts)
	}
	for i, p := range q.Ports {
		if ip, err := netip.ParseAddr(p.HostIP); p.HostIP != "" && (err != nil || ip.Zone() != "") {
			return invalid("give an address of this host, or leave it out for 127.0.0.1", "publish a port: %q is no IP address", p.HostIP)
		}
		if p.Guest == 0 || p.Protocol != "" && p.Protocol != api.ProtocolUDP {
			return invalid("give [IP:]HOST:GUEST with an optional /udp", "publish a port: %s is none", p)
		}
		if at := slices.IndexFunc(q.Ports[:i], p.Clashes); at >= 0 {
			return invalid("give each port of the host once", "publish a port: %s and %s both want port %d of this host", q.Ports[at], p, p.Host)
		}
	}
	if len(q.Ports) > 0 && q.Network == vocab.NetworkNone {
		return invalid("leave out --network none or --publish", "with the network none no port can be published")
	}
	return nil
}

// choosePorts refuses ports of the host that are taken, and chooses those that are left
// open. They are free at this moment; what starts may still find them taken.
func (f *Fleet) choosePorts(driver string, ports []api.Port) ([]api.Port, error) {
	ports = slices.Clone(ports)
	for i, p := range ports {
		held, number, err := f.hold(driver, nil, p)
		if err != nil {
			return nil, err
		}
		if held != nil {
			defer held.Close() // only at the end: two can't be the same
			ports[i].Host = number
		}
	}
	return ports, nil
}

// portPatience is how long what a sandbox's last run left may take to give its ports back.
const portPatience = 3 * time.Second

// awaitPorts refuses a start whose ports are taken, before anything starts.
func (s *Sandbox) awaitPorts(ctx context.Context) error {
	r := s.Rec()
	for _, p := range r.Request.Ports {
		for deadline := time.Now().Add(portPatience); ; {
			held, _, err := s.fleet.hold(r.Driver, s, p)
			if held != nil {
				held.Close()
			}
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				return err
			}
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// hold listens on a port of the host. The error says who has it. held is nil if only the
// engine can tell whether it may listen there.
func (f *Fleet) hold(driver string, self *Sandbox, p api.Port) (held io.Closer, number uint16, err error) {
	if other := f.publishes(self, p); other != nil {
		name := other.Rec().Name
		return nil, 0, &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("port %s of this host is taken by sandbox %s", p.Listen(), name),
			Hint: "take another port, or stop that one first: openshell-vm stop " + name}
	}
	address := net.JoinHostPort(p.IP().String(), strconv.Itoa(int(p.Host)))
	if p.Protocol == api.ProtocolUDP {
		conn, err := net.ListenPacket("udp", address)
		if err != nil {
			return nil, 0, refusedPort(driver, p, err)
		}
		return conn, conn.LocalAddr().(*net.UDPAddr).AddrPort().Port(), nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, 0, refusedPort(driver, p, err)
	}
	return l, l.Addr().(*net.TCPAddr).AddrPort().Port(), nil
}

// publishes finds the sandbox that has the port, or will have it again by itself.
func (f *Fleet) publishes(self *Sandbox, p api.Port) *Sandbox {
	for _, s := range f.All() {
		r := s.Rec()
		if s != self && (r.Desired == state.WantRunning || s.Snapshot().State == api.StateRunning) && slices.ContainsFunc(r.Request.Ports, p.Clashes) {
			return s
		}
	}
	return nil
}

// refusedPort explains why a port can't be listened on; nil if the engine may be allowed to.
func refusedPort(driver string, p api.Port, err error) error {
	e := &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("publish port %s: %v", p.Listen(), err), Hint: "take another port of this host"}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		e.Message = fmt.Sprintf("port %s of this host is taken by another process", p.Listen())
		e.Hint = "take another port, or end what listens there: ss -lntup shows it"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		e.Message, e.Hint = fmt.Sprintf("publish port %s: this host has no such address", p.Listen()), "give an address of this host, or leave it out for 127.0.0.1"
	case errors.Is(err, fs.ErrPermission) && driver != "vm" && os.Geteuid() != 0:
		return nil // the engine may be root's
	case errors.Is(err, fs.ErrPermission):
		e.Message = fmt.Sprintf("publish port %s: this user may not listen below port 1024", p.Listen())
		e.Hint = "take a port from 1024 on; root may change that: sysctl net.ipv4.ip_unprivileged_port_start"
	}
	return e
}
