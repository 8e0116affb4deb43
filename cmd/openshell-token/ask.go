package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// What the sandbox's environment says, and what holds without it.
const (
	envURL    = "OPENSHELL_GATEWAY_URL"
	envToken  = "OPENSHELL_SANDBOX_TOKEN_FILE"
	usualURL  = "unix:///run/openshell/gateway.sock"
	usualFile = "/etc/openshell/auth/sandbox.jwt"
)

const (
	typeJWT   = "urn:ietf:params:oauth:token-type:jwt"
	exchange  = "urn:ietf:params:oauth:grant-type:token-exchange"
	maxAnswer = 64 << 10             // bytes
	longest   = 10 * 365 * 24 * 3600 // a lifetime that is believed, in seconds
	pause     = 200 * time.Millisecond
	longPause = 2 * time.Second // at most, if a gateway wants to be left alone for longer
)

// answer is the gateway's.
type answer struct {
	Token     string `json:"access_token"`
	ExpiresIn int64  `json:"expires_in"` // seconds

	expires time.Time
}

// refused is a gateway's refusal.
type refused struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`

	away  bool          // it may be asked again
	pause time.Duration // after which; 0 if it does not say
}

func (r *refused) Error() string {
	return fmt.Sprintf("the gateway refuses: %s (%s)", r.Description, r.Code)
}

// refusal is what an answer that is no token says. One that is too busy, and a proxy in front of a
// gateway that is away, have no words of the gateway's.
func refusal(response *http.Response, text []byte) *refused {
	no := &refused{Code: response.Status}
	_ = json.Unmarshal(text, no) // else the status alone tells
	switch response.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		no.away = true
	}
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
		no.pause = min(time.Duration(min(seconds, 60))*time.Second, longPause)
	}
	return no
}

// ask gets a token for an audience. A gateway that is away, as during its restart, is asked again
// until ctx ends, a little later if it says that it is too busy. The sandbox's own token is read anew for each try.
func ask(ctx context.Context, audience string) (*answer, error) {
	g, err := find()
	if err != nil {
		return nil, err
	}
	return g.ask(ctx, audience)
}

func (g *place) ask(ctx context.Context, audience string) (*answer, error) {
	for refusals := 0; ; {
		a, err := g.once(ctx, audience)
		var no *refused
		wait := pause
		switch {
		case err == nil:
			return a, nil
		case errors.As(err, &no) && !no.away:
			if refusals++; refusals > 1 || no.Code != "invalid_request" {
				return nil, err // an expired token may have been read just before it was replaced
			}
		case no != nil:
			wait = max(pause, no.pause)
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(wait):
		}
	}
}

func orUsual(variable, usual string) string {
	if value := os.Getenv(variable); value != "" {
		return value
	}
	return usual
}

func ownToken() ([]byte, error) {
	file, err := os.Open(orUsual(envToken, usualFile))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, maxAnswer))
}

// bearer is what a token may be made of (RFC 6750, 2.1). Programs take it for a line.
var bearer = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

func (g *place) once(ctx context.Context, audience string) (*answer, error) {
	own, err := ownToken()
	if err != nil {
		return nil, fmt.Errorf("read this sandbox's token: %w", err)
	}
	body := url.Values{"grant_type": {exchange}, "subject_token": {strings.TrimSpace(string(own))},
		"subject_token_type": {typeJWT}, "audience": {audience}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, g.base+"/v1/token", strings.NewReader(body.Encode()))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := g.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("the gateway does not answer: %w", cause(err))
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("the gateway's answer breaks off: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, refusal(response, text)
	}
	a := &answer{}
	if err := json.Unmarshal(text, a); err != nil || !bearer.MatchString(a.Token) || a.ExpiresIn < 0 || a.ExpiresIn > longest {
		return nil, errors.New("the gateway's answer holds no token")
	}
	a.expires = time.Now().Add(time.Duration(a.ExpiresIn) * time.Second)
	return a, nil
}
