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
	mostOpened    = 32 << 10 // rules, of all addresses together
	namesEach     = 8        // of one address, for people: the newest
	// leastTime is how long an address stays known, however short its record lives. A
	// program may connect some time after it asked.
	leastTime = 5 * time.Minute
)

// Names remembers for which names addresses were given out, and which rules that opens. It
// is bounded: a guest that asks for much makes it forget what it asked for first. But
// however many names share an address, none of them closes what another one opened. The
// zero value is ready. It is safe for concurrent use.
type Names struct {
	Egress []network.Egress // the allow list; set it before any other use

	mu     sync.Mutex
	known  map[netip.Addr]*entry
	opened int // rules, of all entries
}

type entry struct {
	names []name            // the newest last
	rules map[int]time.Time // of Egress: until when
	until time.Time         // the last of all
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
		if len(n.known) >= mostAddresses || n.opened >= mostOpened {
			n.forget()
		}
		e = &entry{}
		n.known[addr] = e
	}
	e.until = later(e.until, until)
	n.open(e, text, until)
	e.names = slices.DeleteFunc(e.names, func(old name) bool { return old.text == text })
	e.names = append(e.names, name{text, until})
	e.names = e.names[max(0, len(e.names)-namesEach):]
}

// open notes which rules a name opens at an address.
func (n *Names) open(e *entry, text string, until time.Time) {
	for i, rule := range n.Egress {
		if !rule.Matches(text) {
			continue
		}
		if e.rules == nil {
			e.rules = map[int]time.Time{}
		}
		if _, known := e.rules[i]; !known {
			n.opened++
		}
		e.rules[i] = later(e.rules[i], until)
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Opened reports whether addr was given out for a name that opens the port.
func (n *Names) Opened(addr netip.Addr, port uint16) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	e, now := n.known[addr.Unmap()], time.Now()
	if e == nil {
		return false
	}
	for i, until := range e.rules {
		if until.After(now) && n.Egress[i].Opens(port) {
			return true
		}
	}
	return false
}

// Of returns the last names for which addr was given out, the newest last.
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
		ends = append(ends, e.until)
	}
	slices.SortFunc(ends, time.Time.Compare)
	limit := ends[len(ends)/2]
	if now := time.Now(); ends[0].Before(now) {
		limit = now
	}
	for addr, e := range n.known {
		if !e.until.After(limit) {
			n.opened -= len(e.rules)
			delete(n.known, addr)
		}
	}
}
