package oauth

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"time"

	"openshell-vm/gateway/audit"
)

// The names of RFC 8693.
const (
	GrantExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	TypeJWT       = "urn:ietf:params:oauth:token-type:jwt"
	typeAccess    = "urn:ietf:params:oauth:token-type:access_token"
	typeID        = "urn:ietf:params:oauth:token-type:id_token"
)

// maxAudience bounds an audience in bytes.
const maxAudience = 512

// now is a variable for tests.
var now = time.Now

// Exchanged is the answer of /v1/token.
type Exchanged struct {
	Token     string `json:"access_token"`
	Issued    string `json:"issued_token_type"`
	Type      string `json:"token_type"`
	ExpiresIn int64  `json:"expires_in"` // seconds
}

// Codes of refusals: RFC 6749's, 5.2 and 4.1.2.1, and RFC 8693's.
const (
	InvalidRequest = "invalid_request"
	InvalidTarget  = "invalid_target"
	ServerError    = "server_error"            // 500
	Unavailable    = "temporarily_unavailable" // 503
)

// retryAfter is what is said to who is told Unavailable, in seconds.
const retryAfter = "5"

// Refusal is RFC 6749's form of an error. Description is one line, with nothing of a token.
type Refusal struct {
	Code        string `json:"error"`
	Description string `json:"error_description,omitempty"`
	// Detail is for logs only: it may say what is none of the caller's business.
	Detail string `json:"-"`
}

// Error is the line for logs.
func (e *Refusal) Error() string {
	if e.Detail != "" {
		return e.Code + ": " + e.Description + ": " + e.Detail
	}
	return e.Code + ": " + e.Description
}

// form are a request's parameters.
type form struct{ url.Values }

// formOf reads the parameters in a request's body. Those in its address do not count: addresses
// get into logs. One without a value counts as left out (RFC 6749, 3.1).
func formOf(r *http.Request) (form, *Refusal) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return form{}, &Refusal{Code: "invalid_request", Description: "the body has to be application/x-www-form-urlencoded"}
	}
	if err := r.ParseForm(); err != nil {
		return form{}, &Refusal{Code: "invalid_request", Description: "the body can't be read, or is too large"}
	}
	for name, values := range r.PostForm {
		if len(values) > 1 {
			return form{}, &Refusal{Code: "invalid_request", Description: "a parameter is given more than once"}
		}
		if values[0] == "" {
			delete(r.PostForm, name)
		}
	}
	return form{r.PostForm}, nil
}

// token exchanges the caller's token for one for another audience.
func (s server) token(w http.ResponseWriter, r *http.Request) {
	f, bad := formOf(r)
	if bad == nil {
		bad = f.check()
	}
	audience := f.Get("audience")
	var made Token
	if bad == nil {
		made, bad = s.exchange(r, f, audience)
	}
	if bad != nil {
		s.refusedOf(r, made.Pod, audience, bad)
		status := http.StatusBadRequest
		switch bad.Code {
		case ServerError:
			status = http.StatusInternalServerError
		case Unavailable:
			status = http.StatusServiceUnavailable
			w.Header().Set("Retry-After", retryAfter)
		}
		send(w, status, bad)
		return
	}
	c := callerOf(r)
	s.Audit.Write(audit.Event{What: audit.Exchange, Sandbox: made.Claims.SandboxID, Pod: made.Pod, Caller: c.Way, Audience: audience,
		Subject: made.Claims.Subject,
		TokenID: made.Claims.TokenID, KeyID: made.Claims.KeyID, Generation: made.Claims.Generation, Expires: made.Expires.UTC()})
	left := max(0, int64(made.Expires.Sub(now())/time.Second))
	send(w, http.StatusOK, Exchanged{Token: string(made.Raw), Issued: TypeJWT, Type: "Bearer", ExpiresIn: left})
}

// check refuses what is not asked for in the way of RFC 8693, or what nobody gives here.
func (f form) check() *Refusal {
	kind, wanted := f.Get("subject_token_type"), f.Get("requested_token_type")
	switch {
	case f.Get("grant_type") != GrantExchange:
		return &Refusal{Code: "unsupported_grant_type", Description: "only " + GrantExchange + " is"}
	case !f.Has("subject_token"):
		return &Refusal{Code: "invalid_request", Description: "there is no subject_token: send the content of the token's file"}
	case kind != TypeJWT && kind != typeAccess && kind != typeID:
		return &Refusal{Code: "invalid_request", Description: "subject_token_type has to be " + TypeJWT}
	case wanted != "" && wanted != TypeJWT && wanted != typeAccess && wanted != typeID:
		return &Refusal{Code: "invalid_request", Description: "requested_token_type has to be " + TypeJWT}
	case f.Has("actor_token") || f.Has("actor_token_type"):
		return &Refusal{Code: "invalid_request", Description: "there are no actors here"}
	case f.Has("scope"):
		return &Refusal{Code: "invalid_scope", Description: "tokens have no scope: ask for an audience"}
	case f.Has("resource"):
		return &Refusal{Code: "invalid_target", Description: "give the resource as audience"}
	case !f.Has("audience"):
		return &Refusal{Code: "invalid_request", Description: "there is no audience"}
	case len(f.Get("audience")) > maxAudience:
		return &Refusal{Code: "invalid_target", Description: fmt.Sprintf("an audience has at most %d bytes", maxAudience)}
	}
	return nil
}

func (s server) exchange(r *http.Request, f form, audience string) (Token, *Refusal) {
	if s.Exchange != nil {
		made, err := s.Exchange(r.Context(), f.Get("subject_token"), audience)
		bad, _ := errors.AsType[*Refusal](err)
		if err != nil && bad == nil {
			bad = &Refusal{Code: ServerError, Description: "no token can be made now"}
		}
		return made, bad
	}
	claims, err := s.verified(callerOf(r), f.Get("subject_token"))
	if err != nil { // RFC 8693, 2.2.2
		return Token{}, &Refusal{Code: "invalid_request", Description: "the subject_token is refused: " + err.Error()}
	}
	made, err := s.Mint(r.Context(), claims.SandboxID, audience)
	switch {
	case errors.Is(err, ErrTarget):
		return Token{}, &Refusal{Code: "invalid_target", Description: err.Error()}
	case err != nil:
		return Token{}, &Refusal{Code: "server_error", Description: "no token can be made now"}
	}
	return made, nil
}
