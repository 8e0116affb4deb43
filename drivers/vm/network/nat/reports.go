package nat

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"openshell-vm/drivers/vm/network"
	"openshell-vm/drivers/vm/network/policy"
	"openshell-vm/internal/text"
)

// reportEvery is the shortest time between two messages to the monitor.
const reportEvery = time.Second

// reports collects what the monitor is told. A guest that is refused much gets no more
// room and no more messages for it, only larger numbers.
type reports struct {
	tell    func(network.ToMonitor)
	traffic func() network.Traffic

	mu      sync.Mutex
	pending bool
	counts  map[refusal]int
	order   []refusal
	more    int
	given   []network.Given
}

type refusal struct{ what, name, why string }

func newReports(tell func(network.ToMonitor), traffic func() network.Traffic) *reports {
	return &reports{tell: tell, traffic: traffic, counts: map[refusal]int{}}
}

// followTraffic tells of the guest's traffic while there is any, until done is closed.
func (r *reports) followTraffic(done <-chan struct{}) {
	every := time.NewTicker(reportEvery)
	defer every.Stop()
	for told := (network.Traffic{}); ; {
		select {
		case <-done:
			return
		case <-every.C:
		}
		if now := r.traffic(); now != told {
			told = now
			r.mu.Lock()
			r.schedule()
			r.mu.Unlock()
		}
	}
}

func (r *reports) refused(protocol policy.Protocol, to netip.AddrPort, names []string, why string) {
	what := string(protocol) + " " + to.String()
	if protocol == policy.ICMP {
		what = "ping " + to.Addr().String()
	}
	r.add(refusal{what, strings.Join(names, ", "), why})
}

func (r *reports) refusedName(name string) {
	r.add(refusal{what: "the name " + name, why: "it is not allowed"})
}

func (r *reports) add(one refusal) {
	one.what, one.name, one.why = short(one.what), short(one.name), short(one.why)
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.counts[one]; !known {
		if len(r.order) >= network.MaxRefused {
			r.more++
			r.schedule()
			return
		}
		r.order = append(r.order, one)
	}
	r.counts[one]++
	r.schedule()
}

// short returns a text that a guest chose, as a line of letters that can be printed. A
// letter has at most 4 bytes.
func short(s string) string { return text.Short(s, network.MaxText/4) }

func (r *reports) gave(g network.Given) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.given, func(old network.Given) bool { return old.Name == g.Name && old.Address == g.Address })
	if i >= 0 {
		r.given[i] = g
	} else if len(r.given) < network.MaxGiven { // else a next process will not know it
		r.given = append(r.given, g)
	}
	r.schedule()
}

// schedule sends what there is, in a moment. r.mu is held.
func (r *reports) schedule() {
	if !r.pending {
		r.pending = true
		time.AfterFunc(reportEvery, r.send)
	}
}

// send tells the monitor what there is. If that does not read, send waits, and there is no
// other one meanwhile.
func (r *reports) send() {
	r.mu.Lock()
	traffic := r.traffic()
	m := network.ToMonitor{More: r.more, Given: r.given, Traffic: &traffic}
	for _, one := range r.order {
		m.Refused = append(m.Refused, network.Refused{What: one.what, Name: one.name, Why: one.why, Times: r.counts[one]})
	}
	clear(r.counts)
	r.order, r.more, r.given = nil, 0, nil
	r.mu.Unlock()
	r.tell(m)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending = false
	if len(r.order)+r.more+len(r.given) > 0 {
		r.schedule()
	}
}
