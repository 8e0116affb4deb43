package nat

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"openshell-vm/drivers/vm/network/resolver"
)

// idleNames is how long a connection to the resolver may be silent.
const idleNames = 10 * time.Second

// namesBuffer is how many bytes of questions or answers wait on a connection.
const namesBuffer = 64 << 10

func (n *NAT) namesTCP(l *listener) {
	asking := make(chan struct{}, mostAsking)
	for {
		conn, err := l.accept(namesBuffer)
		if err != nil {
			return
		}
		select {
		case asking <- struct{}{}:
			go func() {
				defer func() { <-asking }()
				n.nameConn(conn)
				conn.finish(idleNames)
			}()
		default:
			conn.tcp.Abort()
		}
	}
}

func (n *NAT) nameConn(conn net.Conn) {
	for {
		conn.SetDeadline(time.Now().Add(idleNames))
		query, err := resolver.ReadFramed(conn)
		if err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), nameTime)
		answer := n.resolver.Answer(ctx, query, true)
		cancel()
		if answer == nil {
			return
		}
		conn.SetDeadline(time.Now().Add(idleNames))
		if _, err := conn.Write(resolver.Framed(answer)); err != nil {
			return
		}
	}
}

// isPassing reports whether a socket for datagrams goes on after an error: somebody was
// told that one of them did not arrive.
func isPassing(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH) ||
		errors.Is(err, syscall.EMSGSIZE) || errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.EPERM)
}

// isTooMany reports whether the process or the host is out of descriptors.
func isTooMany(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM) ||
		errors.Is(err, syscall.ECONNABORTED)
}
