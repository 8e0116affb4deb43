package gateway

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/audit"
	"openshell-vm/gateway/config"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/issuer"
	"openshell-vm/gateway/listener"
	"openshell-vm/gateway/server"
	"openshell-vm/tokens"
)

// Reload reads the settings again and brings the gateway into line with them. If they are bad,
// those in force stay, and the error says what is wrong. If the tokens' issuer has changed,
// Reload waits for the shares as a rotation of keys does.
func (g *Gateway) Reload(ctx context.Context) (api.Reloaded, error) {
	var result api.Reloaded
	err := g.config.Reload(func(before, after *config.Config) {
		for _, s := range after.Changed(before) {
			if !s.Once {
				result.Changed = append(result.Changed, server.Settings([]config.Setting{s})...)
			}
		}
	})
	if err != nil {
		g.log.Warn("the configuration can't be used; the one before stays in force", "error", explain.Line(err))
		e := explain.Error(err)
		e.Code = api.CodeInvalid
		return api.Reloaded{}, e
	}
	g.log.Info("the configuration was read again", "file", g.config.Now().File, "changed", len(result.Changed))
	result.Warnings, result.Pending = g.config.Warnings(), server.Settings(g.config.Pending())
	renamed, err := g.applyConfig()
	if err != nil {
		return api.Reloaded{}, explain.Own(err)
	}
	g.wantKinds(ctx)
	if renamed {
		r := g.keeper.Republish(ctx)
		result.Republished, result.Failed, result.Waiting = r.Done, r.Failed, r.Waiting
	}
	return result, nil
}

// tellConfig logs what is wrong with the settings, or should be known of them.
func (g *Gateway) tellConfig() {
	if problem := g.config.Problem(); problem != nil {
		g.log.Warn("the configuration can't be used; the last good one is in force", "error", explain.Line(problem))
	}
	for _, line := range g.config.Warnings() {
		g.log.Warn("the configuration", "warning", line)
	}
}

// applyConfig brings the parts of the gateway into line with the settings in force. It changes
// nothing where nothing has changed, so it may be called at any time. It reports whether tokens
// have another issuer now.
func (g *Gateway) applyConfig() (renamed bool, err error) {
	g.applying.Lock()
	defer g.applying.Unlock()
	c := g.config.Now()
	g.clusters.Configure(c.Clusters)
	g.listener.Configure(listener.Settings{Address: c.Listen, Cert: c.TLSCert, Key: c.TLSKey})
	name := issuer.Name{URL: c.Issuer, TrustDomain: c.TrustDomain}
	if renamed, err = g.issuer.Configure(name, c.PublishFor.Duration, time.Now()); err != nil {
		g.log.Warn("tokens keep the issuer that they have", "error", explain.Line(err))
		return false, err
	}
	g.hook.Configure(c.Hook)
	g.keeper.HoldKeys()
	if renamed {
		g.roster.Audit.Write(audit.Event{What: audit.Issuer, Issuer: g.keeper.Issuer().Name(), Reason: "trust domain " + name.TrustDomain})
		g.log.Info("tokens have another issuer", "issuer", g.keeper.Issuer().Name(), "trust_domain", name.TrustDomain)
	}
	return renamed, nil
}

// wantKinds makes the keys of each kind that there is not, once there is an issuer: whoever
// fetches the keys then has those, too, with which a token signs for the first time later. That
// takes a moment, and tokens don't wait for it.
func (g *Gateway) wantKinds(context.Context) {
	if g.issuer.Name().URL == "" {
		return
	}
	if err := g.keys.Want(time.Now(), tokens.ES256, tokens.RS256); err != nil {
		g.log.Warn("keys that others should know before they sign can't be made", "error", explain.Line(err))
	}
}

// applyAgain is applyConfig for upkeep: an issuer that could not be written down is tried again.
func (g *Gateway) applyAgain(ctx context.Context) {
	if renamed, _ := g.applyConfig(); renamed {
		g.keeper.Republish(ctx)
	}
	g.wantKinds(ctx)
}

// names is for lease.Options.Issuer.
func (g *Gateway) names(now time.Time) (url, trustDomain string, former []tokens.Former) {
	name := g.issuer.Name()
	for _, f := range g.issuer.Former(now) {
		former = append(former, tokens.Former{URL: f.URL, TrustDomain: f.TrustDomain, Until: f.Until})
	}
	return name.URL, name.TrustDomain, former
}

// issuerFacts are lines for status about the issuer and who can reach it.
func (g *Gateway) issuerFacts() (facts []api.Fact) {
	say := func(name, value string) {
		if value != "" {
			facts = append(facts, api.Fact{Name: name, Value: value})
		}
	}
	c, name := g.config.Now(), g.issuer.Name()
	if name.URL != "" {
		say("Issuer", name.URL)
	}
	if wanted := (issuer.Name{URL: c.Issuer, TrustDomain: c.TrustDomain}); wanted != name {
		say("Issuer", fmt.Sprintf("%s can't be written down; tokens keep %s", c.Issuer, g.keeper.Issuer().Name()))
	}
	say("Verifiers", g.listener.Status())
	clusters := g.clusters.Status(time.Now())
	for _, name := range slices.Sorted(maps.Keys(clusters)) {
		say("Cluster "+name, clusters[name])
	}
	say("Hook", g.hook.Status())
	say("Keys", g.heldKeys())
	return facts
}

// heldKeys is a line about new keys that wait for the hook.
func (g *Gateway) heldKeys() string {
	n := 0
	for _, key := range g.keeper.Keys() {
		if _, published := g.hook.Published(key.ID); key.State == tokens.Pending && !published {
			n++
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d new ones wait: the hook has not published them yet; the ones before sign meanwhile", n)
}
