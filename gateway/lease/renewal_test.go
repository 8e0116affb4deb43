package lease

import (
	"reflect"
	"testing"
	"time"

	"openshell-vm/gateway/lease/schedule"
	"openshell-vm/tokens"
)

// TestRenewal: a failure leaves all that is known of the token that the share holds.
func TestRenewal(t *testing.T) {
	now := time.Unix(1e9, 0)
	r := &Renewal{}
	r.Found(Held{Generation: 4, Revoked: true})
	if r.Generation != 4 || !r.Revoked {
		t.Errorf("found: %+v", r)
	}
	c := tokens.Claims{SandboxID: id, Generation: 5, KeyID: "k", TokenID: "j", IssuedAt: now, ExpiresAt: now.Add(time.Hour)}
	r.Succeeded(c, time.Hour, nil)
	if r.DueBy(time.Time{}); !r.Due.Equal(r.RenewAt) {
		t.Errorf("due %v, to be renewed %v", r.Due, r.RenewAt)
	}
	r.DueBy(r.RenewAt.Add(time.Minute))
	if r.DueBy(now.Add(time.Minute)); !r.Due.Equal(now.Add(time.Minute)) {
		t.Errorf("due %v", r.Due)
	}
	good := *r
	if r.Generation != 5 || r.Renewals != 1 || r.Revoked || !r.RenewAt.Equal(tokens.RenewAt(now, time.Hour, id)) {
		t.Errorf("renewed: %+v", r)
	}
	r.Found(Held{Generation: 3}) // an older view of it
	for n := 1; n < 4; n++ {
		next := r.Failed("no", now, time.Hour)
		if r.Failures != n || r.LastError != "no" || next.Sub(now) > schedule.LongestRetry || !next.After(now) {
			t.Errorf("failed %d times: %+v, next %v", n, r, next)
		}
	}
	r.Forgive()
	if !reflect.DeepEqual(*r, good) {
		t.Errorf("it was %+v, and after failures %+v", good, r)
	}
	r.Ended()
	if !reflect.DeepEqual(*r, Renewal{Generation: 5, Renewals: 1}) {
		t.Errorf("of a share that is gone is known %+v", r)
	}
}

// TestUrgency: the first token to expire comes first. Then come those that failed, and last
// those that are not known.
func TestUrgency(t *testing.T) {
	now := time.Unix(1e9, 0)
	soon, late := Renewal{ExpiresAt: now}, Renewal{ExpiresAt: now.Add(30 * 24 * time.Hour)}
	failing, unknown := Renewal{ExpiresAt: now, Failures: 1}, Renewal{}
	order := []Renewal{soon, late, failing, unknown}
	for i := range len(order) - 1 {
		if !order[i].Urgency().Before(order[i+1].Urgency()) {
			t.Errorf("%+v is not before %+v", order[i], order[i+1])
		}
	}
}
