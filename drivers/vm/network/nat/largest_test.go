package nat

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"openshell-vm/drivers/vm/network"
	"openshell-vm/drivers/vm/network/policy"
)

// TestLargestMessage: with the worst names that a guest can ask for, a message is a line
// that the monitor takes, and an address that is given out again is told once.
func TestLargestMessage(t *testing.T) {
	var names []string
	for i := range 8 {
		names = append(names, strings.Repeat("\x01<\"\U0001f600\xff", 30)+fmt.Sprint(i))
	}
	var told []network.ToMonitor
	r := newReports(func(m network.ToMonitor) { told = append(told, m) }, noTraffic)
	for i := range 2 * network.MaxRefused {
		r.refused(policy.TCP, netip.AddrPortFrom(netip.MustParseAddr("2001:db8:1111:2222:3333:4444:5555:6666"), uint16(i)), names, "why")
		r.refusedName(strings.Repeat("\x01", 250) + fmt.Sprint(i))
	}
	label := strings.Repeat("a", 63)
	for range 3 {
		for i := range 2 * network.MaxGiven {
			r.gave(network.Given{
				Name: fmt.Sprintf("%s.%s.%s.%059d", label, label, label, i), Until: time.Now().Add(network.MaxKnown),
				Address: fmt.Sprintf("2001:db8:1111:2222:3333:4444:5555:%x", 0x1000+i),
			})
		}
	}
	r.send()
	for _, m := range told {
		if n := len(network.Line(m)); n > network.MaxLine/2 {
			t.Errorf("a message has %d bytes", n)
		}
		seen := map[string]bool{}
		for _, g := range m.Given {
			if seen[g.Name+g.Address] {
				t.Errorf("%s is told twice", g.Address)
			}
			seen[g.Name+g.Address] = true
		}
		for _, one := range m.Refused {
			if len(one.What) > network.MaxText || len(one.Name) > network.MaxText {
				t.Errorf("a refusal has %d and %d bytes", len(one.What), len(one.Name))
			}
		}
	}
}

// TestOddNames: what is no name of a host is not allowed, though it ends with one that
// is, and letters that only look like ASCII's are not ASCII's.
func TestOddNames(t *testing.T) {
	for name, want := range map[string]bool{
		"a.example.com": true, "\x01.example.com": false, ".example.com": false, "a..example.com": false, "a b.example.com": false,
		strings.Repeat("a", 64) + ".example.com": false, "*.example.com": false,
		strings.Repeat("a.", 121) + "example.com": true, strings.Repeat("a.", 122) + "example.com": false,
	} {
		e, err := network.ParseEgress("*.example.com")
		if err != nil {
			t.Fatal(err)
		}
		if got := e.Matches(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
	if got := network.Canonical("\u212a.Example.COM."); got != "\u212a.example.com" {
		t.Errorf("the Kelvin sign becomes %q", got)
	}
}

// TestMonitorThatDoesNotRead: while the monitor does not take a message, no other is made, and
// what comes meanwhile is in the next.
func TestMonitorThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []network.ToMonitor
		taken := make(chan struct{})
		r := newReports(func(m network.ToMonitor) { told = append(told, m); <-taken }, noTraffic)
		for range 100 {
			r.refusedName("evil.example")
			time.Sleep(2 * reportEvery)
		}
		synctest.Wait()
		if len(told) != 1 || told[0].Refused[0].Times != 1 {
			t.Errorf("%d messages wait: %+v", len(told), told)
		}
		close(taken)
		time.Sleep(2 * reportEvery)
		synctest.Wait()
		if len(told) != 2 || told[1].Refused[0].Times != 99 {
			t.Errorf("%+v", told)
		}
	})
}
