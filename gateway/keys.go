package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/lease"
	"openshell-vm/tokens"
)

// rotatePatience bounds how long a rotation waits for a share while no other
// gets anywhere either: longer than one that hangs takes to show it.
const rotatePatience = 2 * publishDeadline

// rotateKeys makes a new signing key and has every share published at once. The
// old key verifies until the last token that it signed has expired. It returns
// once every share holds a token of the new key, has shown that it can't, or hangs.
func (g *Gateway) rotateKeys(ctx context.Context) (api.RotateResult, error) {
	kid, err := g.keys.Rotate(time.Now(), g.longestTTL())
	if err != nil {
		return api.RotateResult{}, ownFailure(fmt.Errorf("rotate the keys: %w", err))
	}
	g.log.Info("a new key signs", "key", kid)
	result := g.republish(ctx, func(t lease.Renewal) bool { return t.KeyID != kid })
	result.KeyID = kid
	return result, nil
}

// retireKey makes a key invalid at once. While shares hold tokens that it
// signed it is refused, unless it is forced: then these are replaced at once.
func (g *Gateway) retireKey(ctx context.Context, prefix string, force bool) (api.RotateResult, error) {
	kid, err := g.findKey(prefix)
	if err != nil {
		return api.RotateResult{}, err
	}
	signed := func(t lease.Renewal) bool { return t.KeyID == kid }
	if n := len(g.holding(signed)); n > 0 && !force && kid != g.keys.SigningKeyID() {
		return api.RotateResult{}, &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("tokens that the key %s signed are still held, by %d of the shares", kid, n),
			Hint: "ps and share ls show why they are not renewed; --force makes these tokens invalid at once"}
	}
	switch err := g.keys.Retire(kid); {
	case errors.Is(err, tokens.ErrSigningKey):
		return api.RotateResult{}, &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("the key %s is the one that signs", kid),
			Hint: "make a new one first: openshell-vm keys rotate"}
	case err != nil:
		return api.RotateResult{}, ownFailure(fmt.Errorf("retire the key %s: %w", kid, err))
	}
	g.log.Info("a key was retired", "key", kid)
	g.tellUntidyKeys()
	g.pruneAll(0) // its tokens are withdrawn
	result := g.republish(ctx, signed)
	result.KeyID = kid
	return result, nil
}

// tellUntidyKeys logs what is not as it should be in the key directory.
func (g *Gateway) tellUntidyKeys() {
	if err := g.keys.Untidy(); err != nil {
		g.log.Warn("the key directory is not tidy", "error", oneLine(err))
	}
}

// findKey resolves a key id or a unique beginning of one.
func (g *Gateway) findKey(prefix string) (string, error) {
	var found []string
	for _, key := range g.keys.List() {
		if prefix != "" && strings.HasPrefix(key.ID, prefix) {
			found = append(found, key.ID)
		}
	}
	switch len(found) {
	case 0:
		return "", &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("there is no key %q", prefix), Hint: "openshell-vm keys list shows all"}
	case 1:
		return found[0], nil
	}
	return "", &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("several keys begin with %q", prefix), Hint: "give more of the key's id: openshell-vm keys list"}
}

// republish brings the renewal of every share with such a token forward to now,
// on the one schedule, and waits until each is done or has failed, as long as
// any of them gets there.
func (g *Gateway) republish(ctx context.Context, old func(lease.Renewal) bool) api.RotateResult {
	began := time.Now()
	var list []*sandbox
	for _, s := range g.all() {
		s.set(func() {
			if s.renewed() && old(s.token) {
				s.schedule.Set(s.id, began, s.token.Urgency())
				list = append(list, s)
			}
		})
	}
	before := api.RotateResult{Waiting: len(list)}
	for _, s := range list {
		if s.await(ctx, began, old) {
			continue
		}
		now := tally(list, began, old)
		if ctx.Err() != nil || now == before {
			break
		}
		before = now // this one hangs, others don't
	}
	return tally(list, began, old)
}

// await returns once a share's renewal is done or has failed; false means that
// neither came in time.
func (s *sandbox) await(ctx context.Context, began time.Time, old func(lease.Renewal) bool) bool {
	patience := time.NewTimer(rotatePatience)
	defer patience.Stop()
	for {
		var news chan struct{}
		s.set(func() {
			if waits, _ := s.outcome(began, old); !waits {
				return
			}
			if s.news == nil {
				s.news = make(chan struct{})
			}
			news = s.news
		})
		if news == nil {
			return true
		}
		select {
		case <-news:
		case <-patience.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// outcome says what has come of a renewal so far. The caller holds s.mu.
func (s *sandbox) outcome(began time.Time, old func(lease.Renewal) bool) (waits, failed bool) {
	switch {
	case !s.renewed() || !old(s.token):
		return false, false
	case s.token.LastErrorAt.After(began):
		return false, true
	}
	return true, false
}

// tally counts what has come of each.
func tally(list []*sandbox, began time.Time, old func(lease.Renewal) bool) (r api.RotateResult) {
	for _, s := range list {
		s.mu.Lock()
		waits, failed := s.outcome(began, old)
		s.mu.Unlock()
		switch {
		case failed:
			r.Failed++
		case waits:
			r.Waiting++
		default:
			r.Republished++
		}
	}
	return r
}

// holding are the shares whose token is such a one.
func (g *Gateway) holding(such func(lease.Renewal) bool) []*sandbox {
	var list []*sandbox
	for _, s := range g.all() {
		if t, kept := s.held(); kept && such(t) {
			list = append(list, s)
		}
	}
	return list
}

// held is the token that the share holds; kept says whether it is renewed at all.
func (s *sandbox) held() (t lease.Renewal, kept bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token, s.renewed()
}

// longestTTL is the longest lifetime of any token that verifies: those of what
// was removed do not.
func (g *Gateway) longestTTL() time.Duration {
	var longest time.Duration
	for _, s := range g.all() {
		longest = max(longest, s.rec().TTL())
	}
	return longest
}

func (g *Gateway) getKeys(*http.Request) (any, error) {
	now, signing := time.Now(), g.keys.SigningKeyID()
	keys := []api.Key{}
	for _, k := range g.keys.List() {
		if !k.RetireAt.IsZero() && !now.Before(k.RetireAt) {
			continue
		}
		keys = append(keys, api.Key{ID: k.ID, Signs: k.ID == signing, CreatedAt: k.CreatedAt, RetireAt: k.RetireAt,
			Shares: len(g.holding(func(t lease.Renewal) bool { return t.KeyID == k.ID }))})
	}
	return keys, nil
}

func (g *Gateway) postRotateKeys(r *http.Request) (any, error) { return g.rotateKeys(r.Context()) }

func (g *Gateway) deleteKey(r *http.Request) (any, error) {
	return g.retireKey(r.Context(), r.PathValue("kid"), r.URL.Query().Get("force") != "")
}

// getJWKS serves the document that whoever verifies sandboxes' tokens needs.
func (g *Gateway) getJWKS(w http.ResponseWriter, _ *http.Request) {
	set, err := g.keys.JWKS(time.Now())
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "no-cache") // a retired key must not verify on
	_, _ = w.Write(append(set, '\n'))           // the client has gone: nobody to tell
}
