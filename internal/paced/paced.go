// Package paced is a listener that accepts no faster than it may. What is no request a server
// refuses by itself, so only the connections can be bounded then.
package paced

import (
	"context"
	"net"

	"golang.org/x/time/rate"
)

// New accepts from l, one connection for each of the turns, until ctx ends or the listener is
// closed. Several listeners may share the turns.
func New(ctx context.Context, l net.Listener, turns *rate.Limiter) net.Listener {
	p := &listener{Listener: l, turns: turns}
	p.ctx, p.end = context.WithCancel(ctx)
	return p
}

type listener struct {
	net.Listener
	turns *rate.Limiter
	ctx   context.Context // ends with Close, too
	end   context.CancelFunc
}

func (p *listener) Accept() (net.Conn, error) {
	if err := p.turns.Wait(p.ctx); err != nil && p.ctx.Err() != nil {
		return nil, net.ErrClosed
	}
	return p.Listener.Accept()
}

func (p *listener) Close() error {
	p.end()
	return p.Listener.Close()
}
