package metrics

import (
	"testing"
	"time"

	"openshell-vm/gateway/lease"
)

// TestEarliest does not depend on the order: a token of unknown expiry counts as expired,
// and hides no other's.
func TestEarliest(t *testing.T) {
	now := time.Unix(1e9, 0)
	soon, late, unknown := lease.Renewal{ExpiresAt: now.Add(time.Minute)}, lease.Renewal{ExpiresAt: now.Add(time.Hour)}, lease.Renewal{}
	for _, order := range [][]lease.Renewal{{soon, late, unknown}, {unknown, late, soon}, {late, unknown, soon}} {
		var n Counts
		for _, token := range order {
			n.inUse(token, now)
		}
		if n.Expired != 1 || !n.Earliest.Equal(soon.ExpiresAt) {
			t.Errorf("%+v", n)
		}
	}
}
