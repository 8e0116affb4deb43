package listener

import (
	"net"
	"net/netip"
	"sync"

	"golang.org/x/time/rate"
)

// What one address can take of the listener: less than all, so that others are served beside one
// that floods.
const (
	addressConnections = maxConnections / 4
	addressPerSecond   = perSecond / 2 // new connections, and as many requests again
	addressBurst       = burst / 2
	maxAddresses       = 1024 // that are remembered; those beyond share one place
	// lookPerSecond is how many connections are looked at and closed again, if an address is
	// beyond its share. It costs a tenth of a processor at most.
	lookPerSecond = 5000
)

// clients are those who ask, by their address. Its lock is a leaf.
type clients struct {
	mu sync.Mutex
	by map[netip.Addr]*client
}

type client struct {
	connects, requests *rate.Limiter
	open               int // connections
}

// of returns what is known of an address. The caller holds mu.
func (c *clients) of(addr netip.Addr) *client {
	if c.by[addr] == nil && len(c.by) >= maxAddresses {
		for other, known := range c.by {
			if known.open == 0 && known.connects.Tokens() >= addressBurst && known.requests.Tokens() >= addressBurst {
				delete(c.by, other)
			}
		}
		if len(c.by) >= maxAddresses {
			addr = netip.Addr{}
		}
	}
	if c.by[addr] == nil {
		if c.by == nil {
			c.by = map[netip.Addr]*client{}
		}
		turns := func() *rate.Limiter { return rate.NewLimiter(addressPerSecond, addressBurst) }
		c.by[addr] = &client{connects: turns(), requests: turns()}
	}
	return c.by[addr]
}

// mayAsk reports whether a request is within the share of where it comes from.
func (c *clients) mayAsk(remote string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.of(addressOf(remote)).requests.Allow()
}

// mayConnect reports whether a connection is. If so, leave is to be called at its end.
func (c *clients) mayConnect(remote string) (leave func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	from := c.of(addressOf(remote))
	if from.open >= addressConnections || !from.connects.Allow() {
		return nil, false
	}
	from.open++
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		from.open--
	}), true
}

// addressOf is an IPv4 address, or the network of an IPv6 one: a host has as many of those as it
// likes. It is the zero Addr if there is none.
func addressOf(remote string) netip.Addr {
	at, _ := netip.ParseAddrPort(remote)
	addr := at.Addr().Unmap().WithZone("")
	if addr.Is6() {
		network, _ := addr.Prefix(64)
		return network.Addr()
	}
	return addr
}

// fair accepts only connections that are within the share of their address, and closes others.
type fair struct {
	net.Listener
	clients *clients
}

func (f fair) Accept() (net.Conn, error) {
	for {
		conn, err := f.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if leave, ok := f.clients.mayConnect(conn.RemoteAddr().String()); ok {
			return &counted{conn, leave}, nil
		}
		conn.Close()
	}
}

// counted is a connection that counts for its address until it is closed.
type counted struct {
	net.Conn
	leave func()
}

func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
