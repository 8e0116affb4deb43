package kubernetes

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openshell-vm/gateway/config"
	"openshell-vm/gateway/kubernetes/clustertest"
	"openshell-vm/gateway/oauth"
	"openshell-vm/tokens"
)

const (
	ours      = "https://tokens.example.org"                    // the audience of the clusters' tokens
	kubeadm   = "https://kubernetes.default.svc.cluster.local"  // what every cluster says by default
	allowed   = "https://api.example.com"                       // the audience that runner may have
	notFor    = "https://other.example.com"                     // one that it may not
	badToken  = oauth.InvalidRequest + ": the subject_token is" // how a refusal of a token begins
	someLater = 2 * time.Minute                                 // longer than any deadline here
)

// world is a cluster "prod", and what makes tokens.
type world struct {
	testing.TB
	*Clusters
	cluster  *clustertest.Server
	settings config.Cluster
	verifier tokens.Verifier
}

func newWorld(t testing.TB, check string) *world {
	t.Helper()
	keys, err := tokens.OpenKeys(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	issuer := tokens.Issuer{Keys: keys, GatewayID: "g1", URL: ours, TrustDomain: "example.org"}
	w := &world{TB: t, cluster: clustertest.New(t, kubeadm),
		Clusters: New(Options{Mint: issuer.Mint, Log: slog.New(slog.DiscardHandler)}),
		verifier: tokens.Verifier{Keys: keys, GatewayID: "g1", URL: ours, TrustDomain: "example.org", AnyAudience: true,
			Exists: func(string) bool { return false }}}
	w.settings = w.settingsOf(w.cluster, check)
	w.Configure(map[string]config.Cluster{"prod": w.settings})
	return w
}

func (w *world) settingsOf(c *clustertest.Server, check string) config.Cluster {
	s := config.Cluster{Issuer: c.Issuer, Audience: ours, Server: c.URL, CA: c.CA(), Check: check, Allow: []config.Allow{
		{Namespace: "agents", ServiceAccount: "runner", Audiences: []string{allowed, "b"}},
		{Namespace: "agents", ServiceAccount: "runner", Audiences: []string{"sts.amazonaws.com"}, Algorithm: "RS256", TokenID: new(bool)},
		{Namespace: "ci", ServiceAccount: config.Every, Audiences: []string{allowed}},
	}}
	if check == config.ByReview {
		s.TokenFile = c.File(c.Password + "\n")
	}
	return s
}

func (w *world) keySet() *keySet { return w.all["prod"].check.(*keySet) }

// change sets what must not be touched while a request is under way.
func (w *world) change(f func(*keySet)) {
	s := w.keySet()
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

// good are the claims of a token that is taken.
func (w *world) good() map[string]any { return w.cluster.Claims(ours) }

// exchange returns the refusal as text; "" for none.
func (w *world) exchange(raw, audience string) (oauth.Token, string) {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), someLater)
	defer cancel()
	made, err := w.Exchange(ctx, raw, audience)
	var bad *oauth.Refusal
	switch {
	case err == nil && made.Raw == "":
		w.Error("neither a token nor an error")
	case err != nil && made.Raw != "":
		w.Error("a token and an error")
	case err != nil && !errors.As(err, &bad):
		w.Errorf("no refusal: %v", err)
	}
	if err != nil {
		if signature := raw[strings.LastIndex(raw, ".")+1:]; len(signature) > 20 && strings.Contains(err.Error(), signature) {
			w.Errorf("the refusal holds the token: %v", err)
		}
		return made, err.Error()
	}
	return made, ""
}

// must exchanges a good token.
func (w *world) must(claims map[string]any) oauth.Token {
	w.Helper()
	made, bad := w.exchange(w.cluster.Token(claims), allowed)
	if bad != "" {
		w.Fatal(bad)
	}
	return made
}
