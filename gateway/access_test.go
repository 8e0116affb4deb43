package gateway

import (
	"testing"
	"time"

	"openshell-vm/gateway/lease"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/sandbox"
	"openshell-vm/internal/contract"
	"openshell-vm/share"
	"openshell-vm/tokens"
)

// Access to a gateway's state for tests.

func (g *Gateway) byID(id string) *roster.Item { return g.roster.ByID(id) }

func (g *Gateway) named(name string) *roster.Item { return g.roster.ByName(name) }

func (g *Gateway) all() []*roster.Item { return g.roster.All() }

// sandboxOf returns an item's sandbox.
func sandboxOf(it *roster.Item) *sandbox.Sandbox { return it.Owner.(*sandbox.Sandbox) }

// token returns what is known of an item's token.
func token(it *roster.Item) lease.Renewal {
	r, _ := it.Lease.Renewal()
	return r
}

// readToken verifies what a share holds.
func (g *Gateway) readToken(it *roster.Item, now time.Time) (tokens.Claims, error) {
	held, err := share.Read(it.Lease.Share().AuthDir())
	if err != nil {
		return tokens.Claims{}, err
	}
	v := g.keeper.Verifier(0)
	v.Exists = func(string) bool { return true }
	return v.Verify(string(held.Files[contract.TokenName]), now)
}

// minter makes tokens as the gateway does.
func (g *Gateway) minter() tokens.Issuer { return tokens.Issuer{Keys: g.keys, GatewayID: g.home.ID} }

// counted reads one of the gateway's metrics. For a histogram it returns the count.
func counted(t testing.TB, g *Gateway, name string) float64 {
	t.Helper()
	families, err := g.metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		m := f.GetMetric()[0]
		return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// plannedFor returns when a token is on the schedule.
func plannedFor(g *Gateway, id string) time.Time { return g.keeper.Renewals().At(id) }
