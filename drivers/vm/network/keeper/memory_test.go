package keeper

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"openshell-vm/drivers/vm/network"
	"openshell-vm/internal/text"
)

// TestNetMemory: what a guest was refused is remembered, cleaned and bounded, and logged
// once.
func TestNetMemory(t *testing.T) {
	var g memory
	one := network.Refused{What: "tcp 10.0.0.1:22", Name: "evil\x1b[2J.example", Why: "no", Times: 2}
	if fresh := g.take(network.ToMonitor{Refused: []network.Refused{one}}); len(fresh) != 1 || strings.Contains(fresh[0].Name, "\x1b") {
		t.Errorf("%+v", fresh)
	}
	if fresh := g.take(network.ToMonitor{Refused: []network.Refused{one}, More: 5}); len(fresh) != 0 || g.times != 9 || g.refused[0].Times != 4 {
		t.Errorf("%+v, %+v", fresh, g)
	}
	logged := 0
	for i := range 1000 {
		logged += len(g.take(network.ToMonitor{Refused: []network.Refused{
			{What: fmt.Sprint("the name n", i, strings.Repeat("x", 5000)), Times: 1}, {What: "nothing", Times: -5}, {What: "none"},
		}, More: -7}))
	}
	if len(g.refused) != mostRefused || logged != mostLogged-1 || g.times != 1009 || len(g.refused[0].What) > 4*text.MaxSaid {
		t.Errorf("%d kinds, %d logged, %d times, %d bytes", len(g.refused), logged, g.times, len(g.refused[0].What))
	}
}

// TestStillGiven: the next process is told of the addresses that hold, and of no more than
// there is room for.
func TestStillGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := allowing(t, "*.example.com")
		for i := range 20 {
			var m network.ToMonitor
			for j := range 2 * network.MaxGiven {
				m.Given = append(m.Given, network.Given{
					Name: "n.example.com", Address: fmt.Sprintf("10.0.%d.%d", i, j%200), Until: time.Now().Add(time.Hour),
				})
			}
			g.take(m)
		}
		g.take(network.ToMonitor{Given: []network.Given{{Name: "soon-over.example.com", Address: "10.9.0.1", Until: time.Now().Add(time.Minute)}}})
		if all := g.stillGiven(); len(all) != mostGiven || all[mostGiven-1].Name != "soon-over.example.com" {
			t.Errorf("%d are given", len(all))
		}
		time.Sleep(2 * time.Minute)
		if all := g.stillGiven(); len(all) != mostGiven-1 {
			t.Errorf("%d are given", len(all))
		}
	})
}

// TestNetState: people are told that the network is down, and for a while that it was.
func TestNetState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &Network{starts: 1, begun: time.Now()}
		if got := n.State(); got != "" || len(n.Facts()) != 0 {
			t.Errorf("%q, %v", got, n.Facts())
		}
		n.noteDown("network ended: signal: killed")
		if got := n.State(); got != "its network is down and is started again: network ended: signal: killed" {
			t.Errorf("%q", got)
		}
		n.down, n.starts, n.begun = "", 2, time.Now()
		if got := n.State(); !strings.HasPrefix(got, "its network was started again") || fmt.Sprint(n.Facts()) != "[{network restarts 1; the last time: network ended: signal: killed}]" {
			t.Errorf("%q, %v", got, n.Facts())
		}
		time.Sleep(restartShown)
		if got := n.State(); got != "" {
			t.Errorf("%q", got)
		}
	})
}
