// Package ports chooses ports of the host for sandboxes, and refuses those that are taken,
// before anything starts.
package ports

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"openshell-vm/gateway/api"
)

// Taken returns the name of the other sandbox that has a port of this host, or will have it
// again by itself; "" if there is none.
type Taken func(api.Port) (name string)

// Choose refuses ports of the host that are taken, and chooses those that are left
// open. They are free at this moment; what starts may still find them taken.
func Choose(driver string, ports []api.Port, taken Taken) ([]api.Port, error) {
	ports = slices.Clone(ports)
	for i, p := range ports {
		held, number, err := hold(driver, p, taken)
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

// patience is how long what a sandbox's last run left may take to give its ports back.
const patience = 3 * time.Second

// Await refuses a start whose ports are taken, before anything starts.
func Await(ctx context.Context, driver string, ports []api.Port, taken Taken) error {
	for _, p := range ports {
		for deadline := time.Now().Add(patience); ; {
			held, _, err := hold(driver, p, taken)
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
func hold(driver string, p api.Port, taken Taken) (held io.Closer, number uint16, err error) {
	if name := taken(p); name != "" {
		return nil, 0, &api.Error{Code: api.CodeConflict,
			Message: fmt.Sprintf("port %s of this host is taken by sandbox %s", p.Listen(), name),
			Hint:    "take another port, or stop that one first: openshell-vm stop " + name}
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

// refusedPort explains why a port can't be listened on; nil if the engine may be allowed to.
func refusedPort(driver string, p api.Port, err error) error {
	e := &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("publish port %s: %v", p.Listen(), err),
		Hint: "take another port of this host"}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		e.Message = fmt.Sprintf("port %s of this host is taken by another process", p.Listen())
		e.Hint = "take another port, or end what listens there: ss -lntup shows it"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		e.Message = fmt.Sprintf("publish port %s: this host has no such address", p.Listen())
		e.Hint = "give an address of this host, or leave it out for 127.0.0.1"
	case errors.Is(err, fs.ErrPermission) && driver != "vm" && os.Geteuid() != 0:
		return nil // the engine may be root's
	case errors.Is(err, fs.ErrPermission):
		e.Message = fmt.Sprintf("publish port %s: this user may not listen below port 1024", p.Listen())
		e.Hint = "take a port from 1024 on; root may change that: sysctl net.ipv4.ip_unprivileged_port_start"
	}
	return e
}
