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
	"openshell-vm/gateway/lease"
	"openshell-vm/tokens"
)

// findKey finds a key by its id or a unique prefix of its id.
func (s *Server) findKey(prefix string) (string, error) {
	var found []string
	for _, key := range s.keys.List() {
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

func (s *Server) getKeys(*http.Request) (any, error) {
	signing, keeper := s.keys.SigningKeyID(), s.roster.Keeper
	keys := []api.Key{}
	for _, k := range keeper.Keys() {
		keys = append(keys, api.Key{ID: k.ID, Signs: k.ID == signing, CreatedAt: k.CreatedAt, RetireAt: k.RetireAt, Shares: keeper.Holding(k.ID)})
	}
	return keys, nil
}

func (s *Server) postRotateKeys(r *http.Request) (any, error) {
	return rotated(s.roster.Keeper.RotateKeys(r.Context()))
}

func (s *Server) deleteKey(r *http.Request) (any, error) {
	kid, err := s.findKey(r.PathValue("kid"))
	if err != nil {
		return nil, err
	}
	return s.retire(r.Context(), kid, r.URL.Query().Get("force") != "")
}

// retire retires a key, and words the errors for users.
func (s *Server) retire(ctx context.Context, kid string, force bool) (any, error) {
	result, err := s.roster.Keeper.RetireKey(ctx, kid, force)
	var held *lease.HeldError
	switch {
	case errors.As(err, &held):
		return nil, &api.Error{Code: api.CodeConflict, Message: held.Error(),
			Hint: "ps and share ls show why they are not renewed; --force makes these tokens invalid at once"}
	case errors.Is(err, tokens.ErrSigningKey):
		return nil, &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("the key %s is the one that signs", kid),
			Hint: "make a new one first: openshell-vm keys rotate"}
	}
	return rotated(result, err)
}

// rotated makes the answer to a change of keys.
func rotated(r lease.Republished, err error) (any, error) {
	if err != nil {
		return nil, explain.Own(err)
	}
	return api.RotateResult{KeyID: r.KeyID, Republished: r.Done, Failed: r.Failed, Waiting: r.Waiting}, nil
}

// getJWKS serves the public keys. Programs that verify sandboxes' tokens need them.
func (s *Server) getJWKS(w http.ResponseWriter, _ *http.Request) {
	set, err := s.keys.JWKS(time.Now())
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "no-cache") // with a cached set, a retired key would still verify
	_, _ = w.Write(append(set, '\n'))           // an error means that the client has gone
}
