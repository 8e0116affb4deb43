package monitor

import (
	"fmt"
	"slices"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/network"
)

// Bounds of what is remembered of a guest's network.
const (
	mostRefused = 32   // kinds of refusals: the latest
	mostGiven   = 1024 // addresses
	mostLogged  = 200  // refusals in the monitor's log
)

// netMemory is what the monitor remembers of a guest's network: what it was refused, for
// people, and which addresses it was given, for the next network process. The zero value
// is ready.
type netMemory struct {
	refused []network.Refused // cleaned; the latest last
	times   int               // refusals in all
	given   []network.Given
	logged  int
}

// take notes a message, and returns the refusals in it that belong into the log.
func (g *netMemory) take(m network.ToMonitor) (fresh []network.Refused) {
	g.times += max(0, m.More)
	for _, r := range m.Refused[:min(len(m.Refused), network.MaxRefused)] {
		if r.Times <= 0 {
			continue
		}
		r.What, r.Name, r.Why = printable(r.What), printable(r.Name), printable(r.Why)
		g.times += r.Times
		i := slices.IndexFunc(g.refused, func(old network.Refused) bool {
			return old.What == r.What && old.Name == r.Name && old.Why == r.Why
		})
		if i < 0 && g.logged < mostLogged {
			g.logged++
			fresh = append(fresh, r)
		}
		if i >= 0 {
			r.Times += g.refused[i].Times
			g.refused = slices.Delete(g.refused, i, i+1)
		}
		g.refused = append(g.refused, r)
		g.refused = g.refused[max(0, len(g.refused)-mostRefused):]
	}
	g.given = append(g.given, m.Given[:min(len(m.Given), network.MaxGiven)]...)
	g.given = g.given[max(0, len(g.given)-mostGiven):]
	return fresh
}

// stillGiven returns the addresses that the guest may still use.
func (g *netMemory) stillGiven() []network.Given {
	now := time.Now()
	g.given = slices.DeleteFunc(g.given, func(a network.Given) bool { return a.Until.Before(now) })
	return slices.Clone(g.given)
}

// facts tells people about the VM's network.
func (n *netProcess) facts() (facts []drivers.Fact) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.starts > 1 || n.down != "" {
		facts = append(facts, drivers.Fact{Name: "network restarts", Value: fmt.Sprintf("%d; the last time: %s", max(n.starts-1, 0), n.lastEnd)})
	}
	if n.guest.times > 0 {
		facts = append(facts, drivers.Fact{Name: "network refusals", Value: fmt.Sprint(n.guest.times)})
	}
	for _, r := range slices.Backward(n.guest.refused) {
		what := r.What
		if r.Name != "" {
			what += " (" + r.Name + ")"
		}
		if r.Times > 1 {
			what += fmt.Sprintf(", %d times", r.Times)
		}
		facts = append(facts, drivers.Fact{Name: "refused", Value: what + ": " + r.Why})
	}
	return facts
}

// restartShown is how long people are told of a restart: the guest's connections of before
// are gone.
const restartShown = 30 * time.Second

// state says in one line why the network is down, or was a moment ago; "" if all is well.
func (n *netProcess) state() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.down != "":
		return "its network is down and is started again: " + n.down
	case n.starts > 1 && time.Since(n.begun) < restartShown:
		return "its network was started again, and its connections were lost: " + n.lastEnd
	}
	return ""
}
