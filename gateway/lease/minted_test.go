package lease

import (
	"io"
	"slices"
	"testing"
	"time"

	"openshell-vm/internal/vocab"
	"openshell-vm/share"
	"openshell-vm/tokens"
)

// TestMinted: each token is told of before anybody can read it in the share.
func TestMinted(t *testing.T) {
	k, leases := kept(t, time.Hour, 1, io.Discard)
	l := leases[0]
	l.holder.(*holding).tokens.Store(&vocab.Tokens{Files: []vocab.TokenFile{{File: "a.jwt", Audience: "a", Algorithm: "ES256"}}})
	var told []string
	k.opts.Minted = func(of *Lease, c tokens.Claims) {
		if seen, err := share.Read(l.Share().AuthDir()); err == nil && seen.Generation >= c.Generation {
			t.Errorf("generation %d is in the share already", c.Generation)
		}
		told = append(told, c.TokenID)
	}
	for range 2 {
		if err := k.Deliver(t.Context(), l, nil); err != nil {
			t.Fatal(err)
		}
	}
	r := renewal(l)
	if len(told) != 4 || !slices.Equal(told[2:], []string{r.TokenID, r.Files[0].TokenID}) {
		t.Errorf("told of %q; the share has %q and %q", told, r.TokenID, r.Files[0].TokenID)
	}
}
