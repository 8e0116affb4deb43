package resolver

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"openshell-vm/drivers/vm/network"
)

const (
	mostAddresses = 4096
	namesEach     = 8 // of one address: the newest
	// leastTime is how long an address stays known, however short its record lives. A
	// program may connect some time after it asked.
	leastTime = 5 * time.Minute
)

// Names remembers for which names addresses were given out. It is bounded: a guest that
// asks for much makes it forget what it asked for first. The zero value is ready. It is
// safe for concurrent use.
type Names struct {
	mu    sync.Mutex
	known map[netip.Addr]*entry
}

type entry struct {
	names []name // the newest last
}

type name struct {
	text  string
	until time.Time
}

// Add notes that addr was given out for a canonical name, with a record that lives for
// ttl. It returns until when that is known.
func (n *Names) Add(text string, addr netip.Addr, ttl time.Duration) time.Time {
	until := time.Now().Add(min(max(ttl, leastTime), network.MaxKnown))
	n.Restore(text, addr, until)
	return until
}

// Restore notes what another process's Add has returned.
func (n *Names) Restore(text string, addr netip.Addr, until time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.known == nil {
		n.known = map[netip.Addr]*entry{}
	}
	addr = addr.Unmap()
	e := n.known[addr]
	if e == nil {
		if len(n.known) >= mostAddresses {
			n.forget()
		}
		e = &entry{}
		n.known[addr] = e
	}
	e.names = slices.DeleteFunc(e.names, func(old name) bool { return old.text == text })
	e.names = append(e.names, name{text, until})
	e.names = e.names[max(0, len(e.names)-namesEach):]
}

// Of returns the names for which addr was given out, the newest last.
func (n *Names) Of(addr netip.Addr) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	e, now := n.known[addr.Unmap()], time.Now()
	if e == nil {
		return nil
	}
	var names []string
	for _, known := range e.names {
		if known.until.After(now) {
			names = append(names, known.text)
		}
	}
	return names
}

// forget makes room: it drops what has ended, or else the half that ends first.
func (n *Names) forget() {
	var ends []time.Time
	for _, e := range n.known {
		ends = append(ends, e.names[len(e.names)-1].until)
	}
	slices.SortFunc(ends, time.Time.Compare)
	limit := ends[len(ends)/2]
	if now := time.Now(); ends[0].Before(now) {
		limit = now
	}
	for addr, e := range n.known {
		if !e.names[len(e.names)-1].until.After(limit) {
			delete(n.known, addr)
		}
	}
}
