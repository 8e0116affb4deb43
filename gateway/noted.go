package gateway

import (
	"slices"
	"strconv"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/audit"
	"openshell-vm/gateway/lease"
	"openshell-vm/tokens"
)

// What is noted in the audit log of renewals and keys. What sandboxes ask for is noted by oauth.

// minted notes a token before it is in its share: the gateway may be killed once it is there.
func (g *Gateway) minted(l *lease.Lease, c tokens.Claims) {
	e := audit.Event{What: audit.Mint, Sandbox: l.ID(), Subject: c.Subject, Audience: c.Audience, TokenID: c.TokenID,
		KeyID: c.KeyID, Generation: c.Generation, Expires: c.ExpiresAt.UTC()}
	if it := g.roster.ByID(l.ID()); it != nil {
		e.Name = it.Rec().Name
	}
	g.roster.Audit.Write(e)
}

// published and failed count a delivery, note it, and tell who follows what happens.
func (g *Gateway) published(l *lease.Lease, generation uint64, took time.Duration) {
	g.metrics.Published(took)
	g.seen.Published(l.ID(), generation)
	if it := g.roster.ByID(l.ID()); it != nil {
		g.roster.Audit.Write(audit.Event{What: audit.Publish, Sandbox: it.ID, Name: it.Rec().Name, Generation: generation})
		it.Tell(api.EventRenewed, "generation", strconv.FormatUint(generation, 10))
	}
}

func (g *Gateway) failed(l *lease.Lease, reason string) {
	g.metrics.Failed()
	if it := g.roster.ByID(l.ID()); it != nil {
		g.roster.Audit.Write(audit.Event{What: audit.NoPublish, Sandbox: it.ID, Name: it.Rec().Name, Reason: reason})
		it.Tell(api.EventFailed, "reason", reason)
	}
}

// warned tells of a user's own token with which something is wrong.
func (g *Gateway) warned(l *lease.Lease, reason string) {
	if it := g.roster.ByID(l.ID()); it != nil {
		it.Tell(api.EventWarning, "reason", reason)
	}
}

// noteBegin notes that the gateway begins, and the keys that it made before the log could be told.
func (g *Gateway) noteBegin() {
	g.roster.Audit.Write(audit.Event{What: audit.Begin, Reason: g.opts.Version})
	var made []tokens.KeyInfo
	for _, key := range g.keys.List(time.Now()) {
		if !key.CreatedAt.Before(g.startedAt) {
			made = append(made, key)
		}
	}
	g.keysChanged(nil, made)
}

// keysChanged notes which keys are new, which sign now, and which verify no more.
func (g *Gateway) keysChanged(before, after []tokens.KeyInfo) {
	now := time.Now()
	note := func(what string, key tokens.KeyInfo, reason string) {
		g.roster.Audit.Write(audit.Event{What: what, KeyID: key.ID, Reason: reason, SignsFrom: key.SignsFrom.UTC()})
	}
	for _, key := range after {
		was := slices.IndexFunc(before, func(k tokens.KeyInfo) bool { return k.ID == key.ID })
		if was < 0 {
			note(audit.Rotate, key, string(key.Algorithm))
		}
		if key.SignsFrom.IsZero() && (was < 0 || !before[was].SignsFrom.IsZero()) {
			note(audit.Sign, key, string(key.Algorithm))
		}
	}
	for _, key := range before {
		switch {
		case slices.ContainsFunc(after, func(k tokens.KeyInfo) bool { return k.ID == key.ID }):
		case !key.RetireAt.IsZero() && !now.Before(key.RetireAt):
			note(audit.Retire, key, "its last token has expired")
		case key.State == tokens.Pending:
			note(audit.Retire, key, "given up before it signed")
		default:
			note(audit.Retire, key, "its tokens are refused from now on")
		}
	}
}
