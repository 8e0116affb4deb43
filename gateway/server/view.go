package server

import (
	"maps"
	"slices"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/lease"
	"openshell-vm/gateway/onrenew"
	"openshell-vm/gateway/presets"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/sandbox"
	"openshell-vm/gateway/seen"
	"openshell-vm/gateway/shares"
	"openshell-vm/gateway/state"
	"openshell-vm/internal/text"
	"openshell-vm/tokens"
)

// views make the forms of sandboxes, shares and tokens in answers. An engine, an image or a
// guest may have written some of their texts: those are cleaned here.
type views struct {
	keys *tokens.Keys
	home *state.Home
	seen *seen.Watch
	told *onrenew.Calls
}

// sandbox makes a sandbox's form in answers.
func (s views) sandbox(box *sandbox.Sandbox) api.Sandbox {
	now := box.Snapshot()
	r, q := now.Record, now.Record.Request
	v := api.Sandbox{
		ID: now.ID, Name: r.Name, Driver: r.Driver, Hypervisor: q.Hypervisor,
		State: now.State, Desired: r.Desired, Reason: text.Line(now.Reason), Progress: text.Line(now.Progress),
		Rootfs: q.Rootfs, Image: q.Image, Process: q.Process, Mounts: q.Mounts, Ports: q.Ports,
		CPUs: q.CPUs, Memory: q.Memory, Disk: q.Disk,
		AutoRemove: q.AutoRemove, Labels: q.Labels, Restart: q.Restart, Restarts: r.Start.Restarts,
		CreatedAt: r.CreatedAt, StartedAt: now.Status.StartedAt, ExitedAt: now.Status.ExitedAt,
		Share: now.Share, TTL: r.TTL(), AuthMode: q.Tokens.Mode.Known(),
		Token: s.tokenIn(now), Tokens: box.Tokens(), Sources: box.SourceStates(), Warnings: now.Warnings,
		At: box.Target(), Shares: s.seen.Shares(box),
		OnRenew: s.told.Of(now.ID, q.OnRenew),
	}
	if now.Status.State == drivers.Exited {
		code := now.Status.ExitCode
		v.ExitCode = &code
	}
	for _, fact := range now.Status.Details {
		v.Details = append(v.Details, api.Fact{Name: text.Line(fact.Name), Value: text.Line(fact.Value)})
	}
	return v
}

// tokenOf returns what is known of an item's token.
func (s views) tokenOf(it *roster.Item) api.Token {
	if box, ok := it.Owner.(*sandbox.Sandbox); ok {
		return s.tokenIn(box.Snapshot())
	}
	token, _ := it.Lease.Renewal()
	return s.tokenShown(token, 0)
}

// tokenIn makes the form in answers of a sandbox's token.
func (s views) tokenIn(now sandbox.Snapshot) api.Token {
	shown := s.tokenShown(now.Token, now.Seen)
	if now.State == api.StateRunning {
		s.seen.Of(now.ID).Shown(&shown)
	}
	return shown
}

// tokenShown makes a token's form in answers. A stopped sandbox may hold a token whose key
// is retired: it gets a new token at its start.
func (s views) tokenShown(t lease.Renewal, seen uint64) api.Token {
	shown := api.Token{Generation: t.Generation, KeyID: t.KeyID, TokenID: t.TokenID, IssuedAt: t.IssuedAt, ExpiresAt: t.ExpiresAt,
		Revoked: t.Revoked || t.KeyID != "" && !s.keys.Verifies(t.KeyID, time.Now()), RenewAt: t.RenewAt, SeenGeneration: seen,
		Renewals: t.Renewals, Failures: t.Failures, LastError: t.LastError, LastErrorAt: t.LastErrorAt,
		Problem: text.Line(t.Problem)}
	for _, f := range t.Files {
		shown.Files = append(shown.Files, api.IssuedToken{File: f.File, Audience: f.Audience, Algorithm: f.Algorithm, Subject: f.Subject,
			KeyID: f.KeyID, TokenID: f.TokenID, IssuedAt: f.IssuedAt, ExpiresAt: f.ExpiresAt, RenewAt: f.RenewAt,
			Revoked: f.KeyID != "" && !s.keys.Verifies(f.KeyID, time.Now())})
	}
	return shown
}

// share makes the form in answers of any share, a sandbox's too.
func (s views) share(it *roster.Item) api.Share {
	files, err := s.home.Files(it.ID)
	problem := ""
	if err != nil {
		problem = explain.Line(err)
	}
	r := it.Rec()
	warnings := it.Warnings()
	if own, ok := it.Owner.(*shares.Share); ok {
		warnings = append(warnings, own.Warnings()...)
	}
	return api.Share{ID: it.ID, Name: r.Name, Driver: r.Driver, Dir: it.Lease.Share().AuthDir(), Target: it.Target(),
		Env: append(drivers.ContractEnv(r.Request.Tokens.Mode, it.Target()), presets.Env(r.Request.Tokens, it.Target())...),
		TTL: r.TTL(), CreatedAt: r.CreatedAt, AuthMode: r.Request.Tokens.Mode.Known(),
		Token: s.tokenOf(it), Tokens: it.Tokens(), Sources: it.SourceStates(),
		Files: slices.Sorted(maps.Keys(files)), Warnings: warnings, Problem: problem}
}
