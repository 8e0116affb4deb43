package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/issuer"
	"openshell-vm/gateway/lease"
	"openshell-vm/gateway/server/answer"
	"openshell-vm/tokens"
)

// keyRoutes are about the keys that sign tokens.
type keyRoutes struct {
	keys   *tokens.Keys
	keeper *lease.Keeper
	issuer *issuer.Issuer
	hook   *issuer.Hook
}

func (s keyRoutes) add(mux *http.ServeMux) {
	mux.Handle("GET /v1/keys", answer.JSON(s.list))
	mux.Handle("POST /v1/keys/rotate", answer.JSON(s.rotate))
	mux.Handle("DELETE /v1/keys/{kid}", answer.JSON(s.remove))
}

// find finds a key by its id or a unique prefix of its id.
func (s keyRoutes) find(prefix string) (string, error) {
	var found []string
	for _, key := range s.keys.List(time.Now()) {
		if prefix != "" && strings.HasPrefix(key.ID, prefix) {
			found = append(found, key.ID)
		}
	}
	switch len(found) {
	case 0:
		return "", &api.Error{Code: api.CodeNotFound,
			Message: fmt.Sprintf("there is no key %q", prefix),
			Hint:    "openshell-vm keys list shows all"}
	case 1:
		return found[0], nil
	}
	return "", &api.Error{Code: api.CodeInvalid,
		Message: fmt.Sprintf("several keys begin with %q", prefix),
		Hint:    "give more of the key's id: openshell-vm keys list"}
}

func (s keyRoutes) list(*http.Request) (any, error) {
	keys := []api.Key{}
	for _, k := range s.keeper.Keys() {
		_, published := s.hook.Published(k.ID)
		keys = append(keys, api.Key{ID: k.ID, Algorithm: string(k.Algorithm), State: string(k.State), Signs: k.State == tokens.Signing,
			CreatedAt: k.CreatedAt, SignsFrom: k.SignsFrom, RetireAt: k.RetireAt,
			Unpublished: k.State == tokens.Pending && !published, Shares: s.keeper.Holding(k.ID)})
	}
	return keys, nil
}

// maxPublishFor bounds how long new keys are published before they sign. A longer time is a
// mistake: verifiers look at least once a day.
const maxPublishFor = 7 * 24 * time.Hour

func (s keyRoutes) rotate(r *http.Request) (any, error) {
	var q api.RotateRequest
	if err := answer.Decode(r, &q); err != nil {
		return nil, err
	}
	publishFor := s.issuer.Ahead(time.Now())
	if q.PublishFor != nil {
		publishFor = *q.PublishFor
	}
	if publishFor < 0 || publishFor > maxPublishFor {
		return nil, &api.Error{Code: api.CodeInvalid,
			Message: fmt.Sprintf("new keys can't be published for %v before they sign", publishFor),
			Hint:    "give 0 to sign at once, or up to 168h"}
	}
	result, err := s.keeper.RotateKeys(r.Context(), publishFor)
	switch {
	case errors.Is(err, tokens.ErrManyKeys):
		return nil, &api.Error{Code: api.CodeConflict, Message: err.Error(),
			Hint: "retire some (openshell-vm keys retire), or wait until the last tokens of some have expired: openshell-vm keys list"}
	case err != nil:
		return nil, explain.Own(err)
	}
	result.Shares.KeyID = result.Made[0].ID
	a := republished(result.Shares)
	a.SignsFrom = result.Made[0].SignsFrom
	return a, nil
}

func (s keyRoutes) remove(r *http.Request) (any, error) {
	kid, err := s.find(r.PathValue("kid"))
	if err != nil {
		return nil, err
	}
	return s.retire(r.Context(), kid, r.URL.Query().Get("force") != "")
}

// retire retires a key, and words the errors for users.
func (s keyRoutes) retire(ctx context.Context, kid string, force bool) (any, error) {
	result, err := s.keeper.RetireKey(ctx, kid, force)
	var held *lease.HeldError
	switch {
	case errors.As(err, &held):
		return nil, &api.Error{Code: api.CodeConflict, Message: held.Error(),
			Hint: "ps and share ls show why they are not renewed; --force makes these tokens invalid at once"}
	case errors.Is(err, tokens.ErrSigningKey): // a pending key does not sign, and is given up
		return nil, &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("the key %s is the one that signs", kid),
			Hint: "make a new one that signs first: openshell-vm keys rotate --publish-for 0"}
	}
	if err != nil {
		return nil, explain.Own(err)
	}
	return republished(result), nil
}

// republished makes the answer to a change of keys.
func republished(r lease.Republished) api.RotateResult {
	return api.RotateResult{KeyID: r.KeyID, Republished: r.Done, Failed: r.Failed, Waiting: r.Waiting}
}
