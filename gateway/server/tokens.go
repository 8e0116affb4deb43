package server

import (
	"fmt"
	"net/http"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/audit"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/server/answer"
)

// maxLeeway is the largest leeway of a verify request.
const maxLeeway = 10 * time.Minute

// tokenRoutes are about the tokens of sandboxes and of shares of the user's own.
type tokenRoutes struct {
	roster *roster.Roster
	see    views
}

func (s tokenRoutes) add(mux *http.ServeMux) {
	mux.Handle("GET /v1/sandboxes/{ref}/token", answer.InPath(s.roster.Find, s.get))
	mux.Handle("POST /v1/sandboxes/{ref}/token/rotate", answer.InPath(s.roster.Find, s.rotate))
	mux.Handle("POST /v1/sandboxes/{ref}/token/revoke", answer.InPath(s.roster.Find, s.revoke))
	mux.Handle("POST /v1/token/verify", answer.JSON(s.verify))
}

func (s tokenRoutes) get(_ *http.Request, it *roster.Item) (any, error) {
	return s.see.tokenOf(it), nil
}

func (s tokenRoutes) rotate(r *http.Request, it *roster.Item) (any, error) {
	if err := it.Rotate(r.Context()); err != nil {
		return nil, err
	}
	return s.see.tokenOf(it), nil
}

func (s tokenRoutes) revoke(r *http.Request, it *roster.Item) (any, error) {
	if err := it.Revoke(r.Context()); err != nil {
		return nil, err
	}
	return s.see.tokenOf(it), nil
}

func (s tokenRoutes) verify(r *http.Request) (any, error) {
	var q api.VerifyRequest
	if err := answer.Decode(r, &q); err != nil {
		return nil, err
	}
	if q.Leeway < 0 || q.Leeway > maxLeeway {
		return nil, &api.Error{Code: api.CodeInvalid,
			Message: fmt.Sprintf("a leeway of %v is not allowed", q.Leeway),
			Hint:    fmt.Sprintf("give one between 0s and %v", maxLeeway)}
	}
	verifier := s.roster.Keeper.Verifier(q.Leeway)
	if q.Audience != "" {
		verifier.Audiences = []string{q.Audience}
	}
	claims, err := verifier.Verify(q.Token, time.Now())
	if err != nil {
		s.roster.Audit.Write(audit.Event{What: audit.Refusal, Caller: "api", Reason: explain.Line(err)})
		return api.VerifyResult{Problem: explain.Line(err)}, nil
	}
	return api.VerifyResult{Valid: true, SandboxID: claims.SandboxID, Subject: claims.Subject, KeyID: claims.KeyID,
		Generation: claims.Generation, IssuedAt: claims.IssuedAt, ExpiresAt: claims.ExpiresAt}, nil
}
