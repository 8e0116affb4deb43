package nat

import (
	"net/netip"
	"sync"
	"time"
)

// How long, and for how many addresses, a refused datagram speaks for the next ones. The
// kernel is asked for each judgement, and the guest's other packets wait meanwhile.
const (
	latelyTime = time.Second
	mostLately = 256
)

// lately remembers why datagrams to an address were not passed on. Only what was refused
// is remembered: what passes is judged anew. It is safe for concurrent use; the zero value
// is ready.
type lately struct {
	mu  sync.Mutex
	all map[netip.AddrPort]failure
}

type failure struct {
	why error
	at  time.Time
}

// why says why a datagram was refused a moment ago; nil if none was.
func (l *lately) why(to netip.AddrPort) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f, known := l.all[to]; known && time.Since(f.at) < latelyTime {
		return f.why
	}
	return nil
}

func (l *lately) add(to netip.AddrPort, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil || len(l.all) >= mostLately {
		l.all = map[netip.AddrPort]failure{}
	}
	l.all[to] = failure{why, time.Now()}
}

// forget is for when more may be allowed.
func (l *lately) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = nil
}
