// Package oauth answers what a sandbox asks of its gateway, in the forms of the standards: who am
// I (RFC 6750), a token for another audience (RFC 8693), is this token good (RFC 7662).
//
// It decides nothing about tokens: who may have which is asked of its Options. No answer and no
// line of the audit log holds more of a token than its claims.
package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"openshell-vm/gateway/audit"
	"openshell-vm/tokens"
)

// MaxBody bounds a request's body in bytes.
const MaxBody = 64 << 10

// ErrTarget means that this caller may have no token for the audience.
var ErrTarget = errors.New("no token for this audience was allowed: see --allow-audience and --token")

// ErrOther means that a token is good, and of another sandbox than the one that sent it.
var ErrOther = errors.New("the token is that of another sandbox")

// ErrForeign means that a sandbox has a token of its user's, which this gateway did not sign.
var ErrForeign = errors.New("the token of this sandbox is its user's own (static-token): " +
	"this gateway can neither judge it nor give another for it")

// Token is a token that was made for who asked.
type Token struct {
	Raw     tokens.Raw
	Claims  tokens.Claims
	Expires time.Time
	Pod     *audit.Pod // whom it was made for, or refused to; nil if that is a sandbox, or unknown
}

// Options are what decides. All are required but Mint, Exchange, Audit and Foreign.
type Options struct {
	// Verify checks a token for the gateway itself.
	Verify func(raw string, now time.Time) (tokens.Claims, error)
	// Introspect checks any token of this gateway, whatever its audience.
	Introspect func(raw string, now time.Time) (tokens.Claims, error)
	// Mint makes a token for a sandbox. Its error wraps ErrTarget if the sandbox may have none
	// for this audience. If it is nil, no token is exchanged.
	Mint func(ctx context.Context, sandbox, audience string) (Token, error)
	// Exchange makes a token for who sends one that another issuer made. Nil means that only a
	// sandbox's own token is exchanged, by Mint. Its error is a *Refusal, or stands for ServerError.
	Exchange func(ctx context.Context, subjectToken, audience string) (Token, error)
	Audit    *audit.Log
	// Foreign reports whether a sandbox's token is its user's own; nil for never.
	Foreign func(sandbox string) bool
}

// Caller is who sends a request.
type Caller struct {
	// Sandbox is the id of the sandbox whose socket it came by; "" if it came otherwise.
	Sandbox string
	// Way is audit.Event.Caller.
	Way string
}

// callerKey is the context key of a Caller.
type callerKey struct{}

// WithCaller says who sends the requests that have this context.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf returns who sends a request with this context.
func CallerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

func callerOf(r *http.Request) Caller { return CallerOf(r.Context()) }

// Handler serves /v1/whoami, /v1/token and /v1/introspect.
func Handler(opts Options) http.Handler {
	s := server{Options: opts}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/whoami", s.whoami)
	if opts.Mint != nil || opts.Exchange != nil {
		mux.HandleFunc("POST /v1/token", s.token)
	}
	mux.HandleFunc("POST /v1/introspect", s.introspect)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if len(r.Header.Values("Authorization")) > 1 { // RFC 6750, 3.1; whatever is between might take the other one
			s.bad(w, r, &Refusal{Code: "invalid_request", Description: "Authorization is given more than once"})
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, MaxBody)
		mux.ServeHTTP(w, r)
	})
}

type server struct{ Options }

// verified checks a token that is to be the caller's own.
func (s server) verified(c Caller, raw string) (tokens.Claims, error) {
	claims, err := s.Verify(raw, now())
	if err == nil && c.Sandbox != "" && claims.SandboxID != c.Sandbox {
		err = ErrOther
	}
	if err != nil && s.Foreign != nil && s.Foreign(c.Sandbox) {
		err = ErrForeign
	}
	return claims, err
}

// refused notes a refusal.
func (s server) refused(r *http.Request, audience string, err error) {
	s.refusedOf(r, nil, audience, err)
}

// refusedOf notes a refusal to what says that it is a pod.
func (s server) refusedOf(r *http.Request, pod *audit.Pod, audience string, err error) {
	c := callerOf(r)
	s.Audit.Write(audit.Event{What: audit.Refusal, Sandbox: c.Sandbox, Pod: pod, Caller: c.Way, Audience: audience,
		Reason: fmt.Sprintf("%s: %v", r.URL.Path, err)})
}

// bad notes a request that is refused for its form, and answers it.
func (s server) bad(w http.ResponseWriter, r *http.Request, no *Refusal) {
	s.refused(r, "", no)
	send(w, http.StatusBadRequest, no)
}

// send answers with a JSON object.
func send(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // an error means that the client has gone
}
