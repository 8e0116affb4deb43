package network

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"

	"openshell-vm/internal/fault"
)

// Open makes the listening socket of a Forward, and returns its port. It fails if the port
// is taken.
func (f Forward) Open() (socket *os.File, port uint16, err error) {
	if f.Protocol == "udp" {
		conn, err := net.ListenPacket("udp", f.Listen)
		if err != nil {
			return nil, 0, f.taken(err)
		}
		defer conn.Close()
		socket, err = conn.(*net.UDPConn).File()
		return socket, uint16(conn.LocalAddr().(*net.UDPAddr).Port), err
	}
	l, err := net.Listen("tcp", f.Listen)
	if err != nil {
		return nil, 0, f.taken(err)
	}
	defer l.Close()
	socket, err = l.(*net.TCPListener).File()
	return socket, uint16(l.Addr().(*net.TCPAddr).Port), err
}

func (f Forward) taken(err error) error {
	e := &fault.Error{Op: fmt.Sprintf("listen at %s/%s", f.Listen, f.Protocol), Err: err}
	var number syscall.Errno
	errors.As(err, &number)
	switch {
	case number == syscall.EADDRINUSE:
		e.Err, e.Hint = errors.New("the port is taken"), "take another port of the host, or end what listens there"
	case errors.Is(err, fs.ErrPermission):
		e.Err, e.Hint = errors.New("this user may not listen there"), "take a port from 1024 on"
	case number == syscall.EADDRNOTAVAIL:
		e.Err, e.Hint = errors.New("this host has no such address"), "give an address of this host, or none for 127.0.0.1"
	}
	return e
}
