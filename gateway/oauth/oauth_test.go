package oauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openshell-vm/gateway/audit"
	"openshell-vm/tokens"
)

// serve answers requests of the sandbox "box". Its token is "good", and it may have one for "a".
func serve(t *testing.T) (*httptest.Server, *audit.Log) {
	t.Helper()
	log := audit.New(filepath.Join(t.TempDir(), "audit.log"), slog.New(slog.DiscardHandler))
	t.Cleanup(func() { log.Close() })
	verify := func(raw string, _ time.Time) (tokens.Claims, error) {
		if raw != "good" {
			return tokens.Claims{}, errors.New("it is not good")
		}
		return tokens.Claims{SandboxID: "box"}, nil
	}
	mint := func(_ context.Context, sandbox, audience string) (Token, error) {
		if audience != "a" {
			return Token{}, ErrTarget
		}
		return Token{Raw: "made", Claims: tokens.Claims{SandboxID: sandbox}, Expires: time.Now().Add(time.Minute)}, nil
	}
	handler := Handler(Options{Verify: verify, Introspect: verify, Mint: mint, Audit: log})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r.WithContext(WithCaller(r.Context(), Caller{Sandbox: "box", Way: "socket"})))
	}))
	t.Cleanup(server.Close)
	return server, log
}

// exchange asks for a token for "a"; change adds parameters or replaces them. It returns the
// error code, "" for none.
func exchange(t *testing.T, server *httptest.Server, change url.Values) string {
	t.Helper()
	form := url.Values{"grant_type": {GrantExchange}, "subject_token": {"good"}, "subject_token_type": {TypeJWT}, "audience": {"a"}}
	for name, values := range change {
		form[name] = values
	}
	response, err := http.PostForm(server.URL+"/v1/token", form)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
		Error string `json:"error"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || (answer.Error == "") != (answer.Token == "made") {
		t.Errorf("%+v, %v", answer, err)
	}
	return answer.Error
}

// TestEmptyParameters: one without a value counts as left out, as golang.org/x/oauth2's client
// sends its scope.
func TestEmptyParameters(t *testing.T) {
	server, _ := serve(t)
	for name, codes := range map[string][2]string{ // without a value, and with one
		"scope":                {"", "invalid_scope"},
		"resource":             {"", "invalid_target"},
		"actor_token":          {"", "invalid_request"},
		"actor_token_type":     {"", "invalid_request"},
		"requested_token_type": {"", "invalid_request"},
		"options":              {"", ""},
		"audience":             {"invalid_request", "invalid_target"},
		"subject_token":        {"invalid_request", "invalid_request"},
		"subject_token_type":   {"invalid_request", "invalid_request"},
		"grant_type":           {"unsupported_grant_type", "unsupported_grant_type"},
	} {
		for i, value := range []string{"", "x"} {
			if got := exchange(t, server, url.Values{name: {value}}); got != codes[i] {
				t.Errorf("%s=%s: %q, not %q", name, value, got, codes[i])
			}
		}
		if got := exchange(t, server, url.Values{name: {"", ""}}); got != "invalid_request" {
			t.Errorf("%s twice: %q", name, got)
		}
	}
}

// TestRefusalsAreShort: who is refused can't write much into the audit log, however long the
// audience is that it asks for, and however often.
func TestRefusalsAreShort(t *testing.T) {
	server, log := serve(t)
	for range 50 {
		if got := exchange(t, server, url.Values{"audience": {strings.Repeat("<", 20_000)}}); got != "invalid_target" {
			t.Errorf("%q", got)
		}
	}
	var lines []byte
	if err := log.Copy(t.Context(), false, func(more []byte) error { lines = append(lines, more...); return nil }); err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(lines, []byte("\n")); n < 5 || n > 20 || len(lines) > 1000*n || !bytes.Contains(lines, []byte("<<<")) {
		t.Errorf("%d bytes in %d lines", len(lines), n)
	}
}
