package keeper

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/network"
	"openshell-vm/internal/text"
)

// Bounds of what is remembered of a guest's network.
const (
	mostRefused = 32   // kinds of refusals: the latest
	mostGiven   = 1024 // addresses
	mostLogged  = 200  // refusals in the monitor's log
	mostTimes   = 1 << 30
	mostTraffic = 1 << 60 // bytes
)

// memory is what is remembered of a guest's network: what it was refused, for
// people, and which addresses it was given, for the next network process. The zero value
// is ready.
type memory struct {
	egress  []network.Egress  // the allow list
	refused []network.Refused // cleaned; the latest last
	times   int               // refusals in all
	given   []given
	logged  int
	traffic *network.Traffic // of all processes together; nil if none has told
}

// given is an address, and which entries of the allow list it was given out for.
type given struct {
	network.Given
	opens []int
}

// take notes a message, and returns the refusals in it that belong into the log.
func (g *memory) take(m network.ToMonitor) (fresh []network.Refused) {
	g.count(m.More)
	for _, r := range m.Refused[:min(len(m.Refused), network.MaxRefused)] {
		if r.Times <= 0 {
			continue
		}
		for _, s := range []*string{&r.What, &r.Name, &r.Why} {
			*s = text.Short(*s, text.MaxSaid)
		}
		r.Times = min(r.Times, mostTimes)
		g.count(r.Times)
		i := slices.IndexFunc(g.refused, func(old network.Refused) bool {
			return old.What == r.What && old.Name == r.Name && old.Why == r.Why
		})
		if i < 0 && g.logged < mostLogged {
			g.logged++
			fresh = append(fresh, r)
		}
		if i >= 0 {
			r.Times = min(r.Times+g.refused[i].Times, mostTimes)
			g.refused = slices.Delete(g.refused, i, i+1)
		}
		g.refused = append(g.refused, r)
		g.refused = g.refused[max(0, len(g.refused)-mostRefused):]
	}
	for _, one := range m.Given[:min(len(m.Given), network.MaxGiven)] {
		g.gave(one)
	}
	return fresh
}

// goOn adds what a process has counted since it told the last time. It returns what the
// process has told now.
func (g *memory) goOn(last network.Traffic, now *network.Traffic) network.Traffic {
	if now == nil { // an older program
		return last
	}
	if g.traffic == nil {
		g.traffic = &network.Traffic{}
	}
	add := func(sum *int64, last, now int64) int64 {
		now = min(max(now, last), mostTraffic) // it only grows
		*sum = min(*sum+now-last, mostTraffic)
		return now
	}
	return network.Traffic{
		Received: add(&g.traffic.Received, last.Received, now.Received),
		Sent:     add(&g.traffic.Sent, last.Sent, now.Sent),
	}
}

func (g *memory) count(times int) { g.times = min(g.times+min(max(0, times), mostTimes), mostTimes) }

// gave notes an address, if it may have been given out for that name. A network process
// that a guest has taken over must not open more for the next one. Of the names that open
// the same at one address the newest stands for all: a guest that asks for many of them
// pushes nothing else out.
func (g *memory) gave(one network.Given) {
	addr, err := netip.ParseAddr(one.Address)
	opens := g.opens(one.Name)
	if err != nil || addr.Zone() != "" || len(opens) == 0 {
		return
	}
	one.Address = addr.Unmap().String()
	if most := time.Now().Add(network.MaxKnown); one.Until.After(most) {
		one.Until = most
	}
	i := slices.IndexFunc(g.given, func(old given) bool {
		return old.Address == one.Address && slices.Equal(old.opens, opens)
	})
	if i >= 0 {
		if old := g.given[i]; old.Until.After(one.Until) {
			one.Until = old.Until
		}
		g.given = slices.Delete(g.given, i, i+1)
	}
	g.given = append(g.given, given{one, opens})
	g.given = g.given[max(0, len(g.given)-mostGiven):]
}

// opens returns which entries of the allow list match a name.
func (g *memory) opens(name string) (all []int) {
	for i, e := range g.egress {
		if e.Matches(name) {
			all = append(all, i)
		}
	}
	return all
}

// stillGiven returns the addresses that the guest may still use.
func (g *memory) stillGiven() (all []network.Given) {
	now := time.Now()
	for _, a := range g.given {
		if a.Until.After(now) {
			all = append(all, a.Given)
		}
	}
	return all
}

// Traffic returns what the guest has received and sent since its start, a second or two ago;
// nil if the network process does not tell.
func (n *Network) Traffic() *network.Traffic {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.guest.traffic == nil {
		return nil
	}
	t := *n.guest.traffic
	return &t
}

// Facts tells people about the VM's network.
func (n *Network) Facts() (facts []drivers.Fact) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.starts > 1 || n.down != "" {
		restarts := fmt.Sprintf("%d; the last time: %s", max(n.starts-1, 0), n.lastEnd)
		facts = append(facts, drivers.Fact{Name: "network restarts", Value: restarts})
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

// State says in one line why the network is down, or was a moment ago; "" if all is well.
func (n *Network) State() string {
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
