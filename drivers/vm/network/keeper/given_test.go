package keeper

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"openshell-vm/drivers/vm/network"
)

func allowing(t *testing.T, texts ...string) (g memory) {
	t.Helper()
	for _, text := range texts {
		e, err := network.ParseEgress(text)
		if err != nil {
			t.Fatal(err)
		}
		g.egress = append(g.egress, e)
	}
	return g
}

// TestGivenIsChecked: a network process can't make the monitor remember, or tell the next
// process, more than the allow list and time allow.
func TestGivenIsChecked(t *testing.T) {
	g := allowing(t, "*.example.com", "api.example.org")
	now := time.Now()
	g.take(network.ToMonitor{Given: []network.Given{
		{Name: "www.example.com", Address: "10.0.0.1", Until: now.Add(time.Hour)},
		{Name: "www.example.com", Address: "::ffff:10.0.0.1", Until: now.Add(2 * time.Hour)}, // the same
		{Name: "api.example.org", Address: "10.0.0.2", Until: now.Add(1e6 * time.Hour)},
		{Name: "evil.example.net", Address: "10.0.0.3", Until: now.Add(time.Hour)},
		{Name: strings.Repeat("a.", 5000) + "example.com", Address: "10.0.0.4", Until: now.Add(time.Hour)},
		{Name: "www.example.com", Address: strings.Repeat("1", 5000), Until: now.Add(time.Hour)},
		{Name: "www.example.com", Address: "fe80::1%" + strings.Repeat("e", 5000), Until: now.Add(time.Hour)},
		{Name: "gone.example.com", Address: "10.0.0.5", Until: now.Add(-time.Hour)},
	}})
	given := g.stillGiven()
	if len(given) != 2 || given[0].Name != "www.example.com" || given[0].Address != "10.0.0.1" || given[1].Name != "api.example.org" {
		t.Errorf("%+v", given)
	}
	if len(given) == 2 && (given[0].Until.Before(now.Add(time.Hour+time.Minute)) || time.Until(given[1].Until) > network.MaxKnown) {
		t.Errorf("known until %v and %v", given[0].Until, given[1].Until)
	}
	var none memory
	none.take(network.ToMonitor{Given: given})
	if len(none.given) != 0 {
		t.Errorf("without an allow list: %+v", none.given)
	}
}

// TestNamesOfOneAddress: many names of one address push out neither what another entry of
// the allow list opens there, nor other addresses, and shorten nothing.
func TestNamesOfOneAddress(t *testing.T) {
	g, now := allowing(t, "*.example.com", "git.example.org:22"), time.Now()
	gave := func(name, address string, hours int) {
		g.take(network.ToMonitor{Given: []network.Given{{Name: name, Address: address, Until: now.Add(time.Duration(hours) * time.Hour)}}})
	}
	gave("git.example.org", "10.0.0.1", 1)
	gave("www.example.com", "10.0.0.2", 1)
	gave("long.example.com", "10.0.0.1", 5)
	for i := range 2 * mostGiven {
		gave(fmt.Sprintf("n%d.example.com", i), "10.0.0.1", 1)
	}
	all := map[string]time.Time{}
	for _, one := range g.stillGiven() {
		all[one.Name+" "+one.Address] = one.Until
	}
	last := fmt.Sprintf("n%d.example.com 10.0.0.1", 2*mostGiven-1)
	if len(all) != 3 || all["git.example.org 10.0.0.1"].IsZero() || all["www.example.com 10.0.0.2"].IsZero() || !all[last].Equal(now.Add(5*time.Hour)) {
		t.Errorf("%v", all)
	}
}

// TestNumbersStayInRange: numbers of a hostile process don't overflow.
func TestNumbersStayInRange(t *testing.T) {
	var g memory
	for range 3 {
		g.take(network.ToMonitor{More: math.MaxInt, Refused: []network.Refused{{What: "a", Times: math.MaxInt}, {What: "b", Times: -5}}})
	}
	if g.times <= 0 || len(g.refused) != 1 || g.refused[0].Times <= 0 {
		t.Errorf("%d times, %+v", g.times, g.refused)
	}
}

// TestLargestIntroduction: all that is remembered of a guest, with the longest names and
// the worst resolv.conf, goes to a new process in lines that it takes.
func TestLargestIntroduction(t *testing.T) {
	g := allowing(t, "*.example.com")
	label, longest := strings.Repeat("a", 63), time.Now().Add(network.MaxKnown)
	for i := range 2 * mostGiven {
		g.take(network.ToMonitor{Given: []network.Given{{
			Name: fmt.Sprintf("%s.%s.%s.%049d.example.com", label, label, label[:61], i), Until: longest,
			Address: fmt.Sprintf("2001:db8:1111:2222:3333:4444:5555:%x", 0x1000+i),
		}}})
	}
	given, count := g.stillGiven(), 0
	all := introduction(&network.Config{}, strings.Repeat("\x01", network.MaxResolv), given)
	for i, m := range all {
		if n := len(network.Line(m)); n > network.MaxLine/2 {
			t.Errorf("message %d has %d bytes", i, n)
		}
		count += len(m.Given)
		if (m.Resolv != nil) != (i == len(all)-1) || (m.Config != nil) != (i == 0) {
			t.Errorf("message %d: %v, %v", i, m.Config != nil, m.Resolv != nil)
		}
	}
	if len(given) != mostGiven || count != mostGiven {
		t.Errorf("%d addresses are known, %d are told", len(given), count)
	}
}

// TestTraffic: the numbers of all processes are added, and a hostile one's neither shrink
// nor overflow.
func TestTraffic(t *testing.T) {
	var g memory
	told := g.goOn(network.Traffic{}, nil)
	if g.traffic != nil {
		t.Errorf("nobody told, and it is %+v", *g.traffic)
	}
	for _, now := range []network.Traffic{{Received: 5, Sent: 7}, {Received: 10, Sent: 3}, {Received: -1, Sent: 8}} {
		told = g.goOn(told, &now)
	}
	told = g.goOn(network.Traffic{}, &network.Traffic{Received: 1}) // another process
	g.goOn(told, &network.Traffic{Received: 2, Sent: 1})
	if want := (network.Traffic{Received: 12, Sent: 9}); *g.traffic != want {
		t.Errorf("%+v, not %+v", *g.traffic, want)
	}
	for range 10 {
		g.goOn(network.Traffic{}, &network.Traffic{Received: math.MaxInt64, Sent: math.MinInt64})
	}
	if g.traffic.Received <= 0 || g.traffic.Sent != 9 {
		t.Errorf("%+v", *g.traffic)
	}
}

// TestNetworkThatTalks: a process that sends messages without end is held back, and costs the
// monitor no more than another.
func TestNetworkThatTalks(t *testing.T) {
	n, _ := plainNetwork(t, func(int64) string {
		return `head -n 2 <&3 >/dev/null; while echo '{"more":1}' >&3; do :; done`
	})
	began := time.Now()
	run, err := n.launch()
	if err != nil {
		t.Fatal(err)
	}
	go n.keep(run)
	awaitNetwork(t, "more than a burst is heard", func(n *Network) bool { return n.guest.times > messageBurst+messages }, n)
	n.mu.Lock()
	heard, runs := n.guest.times, n.run
	n.mu.Unlock()
	if most := messageBurst + messages*int(time.Since(began)/time.Second+1); heard > most || runs != run {
		t.Errorf("%d messages are heard of a process that still runs: %v", heard, runs == run)
	}
	run.end()
	awaitNetwork(t, "another process runs", func(n *Network) bool { return n.starts == 2 }, n)
}
