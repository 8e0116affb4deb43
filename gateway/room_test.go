package gateway

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
)

// TestReserveFollowsTheShares: the reserve's size follows the number of shares.
func TestReserveFollowsTheShares(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	g := w.run()
	facts := func() (all string) {
		for _, f := range g.reserves.Facts() {
			all += f.Name + ": " + f.Value + "\n"
		}
		return all
	}
	if got := facts(); !strings.Contains(got, "reserve: none needed there: no token is to be renewed\n") {
		t.Errorf("doctor, while there is nothing to renew: %s", got)
	}
	blanks := func() int {
		found, err := filepath.Glob(filepath.Join(g.home.State, state.ReserveDir, "*"))
		w.must(err)
		return len(found)
	}
	for i, name := range []string{"one", "two"} {
		w.share(api.ShareRequest{Name: name, TTL: time.Hour})
		g.reserves.Refill()
		if _, problem := g.home.Rooms()[0].Wanted(); problem != "" {
			t.Skip("no room can be set aside here: " + problem)
		}
		if n := blanks(); n != 2*(i+1) {
			t.Errorf("%d publishes are set aside for %d shares", n, i+1)
		}
	}
	w.must(os.RemoveAll(filepath.Join(g.home.State, state.ReserveDir)))
	g.reserves.Refill()
	if n := blanks(); n != 4 {
		t.Errorf("after somebody removed it %d publishes are set aside", n)
	}
	for _, want := range []string{"room: ", " are free on the disk of " + g.home.State, "reserve: up to 4 renewals (48KiB) are set aside there"} {
		if !strings.Contains(facts(), want) {
			t.Errorf("doctor does not say %q, but %s", want, facts())
		}
	}
	if text := w.metricsText(); !strings.Contains(text, `openshell_reserve_renewals{dir="`+g.home.State+`"} 4`) {
		t.Errorf("metrics: %s", text)
	}
	w.must(w.client.Shares.Remove(t.Context(), "one", false))
	w.must(w.client.Shares.Remove(t.Context(), "two", false))
	g.reserves.Refill()
	if n := blanks(); n != 0 {
		t.Errorf("without a share %d publishes are set aside", n)
	}
}

// TestLayersOnTheSameDisk: doctor says whether containers can fill the tokens' disk.
func TestLayersOnTheSameDisk(t *testing.T) {
	w := newWorld(t)
	g := w.open()
	for root, want := range map[string]string{
		"": "", "/not/of/this/host": "", w.dir: "should a container fill it, renewals go on", "/proc": "on another disk",
	} {
		facts := g.reserves.Layers(drivers.Info{DataRoot: root})
		if want == "" && len(facts) > 0 || want != "" && (len(facts) != 1 || !strings.Contains(facts[0].Value, want)) {
			t.Errorf("%q: %v", root, facts)
		}
	}
}
