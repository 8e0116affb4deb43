package gateway

import (
	"os"
	"strings"
	"testing"

	"openshell-vm/gateway/api"
)

// TestKeyCantBeMade: while a key of a new kind can't be written, a share that wants a token of it
// is not made, and none is added to one that is there. What is there is renewed.
func TestKeyCantBeMade(t *testing.T) {
	w := newWorld(t)
	g := w.run()
	w.share(api.ShareRequest{Name: "agent", Tokens: api.Tokens{Files: []api.TokenFile{{Audience: "a"}}}})
	keys := g.home.Keys()
	w.must(os.Rename(keys, keys+".away"))
	defer os.Rename(keys+".away", keys) //nolint:errcheck // it is back already if the test got that far
	wants := api.TokenFile{Audience: "vault", Algorithm: "RS256"}
	_, err := w.client.Tokens.Change(t.Context(), "agent", api.TokensRequest{Add: []api.TokenFile{wants}})
	if err == nil || !strings.Contains(err.Error(), "vault.jwt: mint a token: ") {
		t.Errorf("added: %v", err)
	}
	if _, err := w.client.Shares.Create(t.Context(), api.ShareRequest{Name: "other", Tokens: api.Tokens{Files: []api.TokenFile{wants}}}); err == nil {
		t.Error("a share is made without one of its tokens")
	}
	before := w.shareOf("agent").Token
	_, err = w.client.Tokens.Rotate(t.Context(), "agent")
	w.must(err)
	now := w.shareOf("agent")
	if now.Token.Generation <= before.Generation || now.Token.Failures != 0 || len(now.Tokens.Files) != 1 || len(now.Token.Files) != 1 {
		t.Errorf("%+v, %+v", now.Token, now.Tokens)
	}
	w.must(os.Rename(keys+".away", keys))
	_, err = w.client.Tokens.Change(t.Context(), "agent", api.TokensRequest{Add: []api.TokenFile{wants}})
	w.must(err)
	if now := w.shareOf("agent"); len(now.Token.Files) != 2 || now.Token.Failures != 0 {
		t.Errorf("once it can be made: %+v", now.Token)
	}
}
