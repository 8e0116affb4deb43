package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"openshell-vm/tokens"
)

// fuzzed asks a handler that knows one token, "good", which makes one, "made".
func fuzzed(t *testing.T, method, path string, header http.Header, body string) (*httptest.ResponseRecorder, string) {
	verify := func(raw string, _ time.Time) (tokens.Claims, error) {
		if raw != "good" {
			return tokens.Claims{}, errors.New("it is not good")
		}
		return tokens.Claims{SandboxID: "box", IssuedAt: time.Unix(1, 0), ExpiresAt: time.Unix(2, 0)}, nil
	}
	mint := func(_ context.Context, sandbox, audience string) (Token, error) {
		if sandbox != "box" || audience != "a" {
			return Token{}, ErrTarget
		}
		return Token{Raw: "made", Expires: time.Now().Add(time.Minute)}, nil
	}
	handler := Handler(Options{Verify: verify, Introspect: verify, Mint: mint})
	request := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	request.Header = header
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, request.WithContext(WithCaller(request.Context(), Caller{Sandbox: "box", Way: "socket"})))
	if !json.Valid(w.Body.Bytes()) || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d, %q, %v", w.Code, w.Body, w.Header())
	}
	return w, w.Body.String()
}

// FuzzToken: only a form that says all that it must, and each once, gets a token.
func FuzzToken(f *testing.F) {
	good := url.Values{"grant_type": {GrantExchange}, "subject_token": {"good"}, "subject_token_type": {TypeJWT}, "audience": {"a"}}.Encode()
	const kind = "application/x-www-form-urlencoded"
	for _, body := range []string{good, good + "&audience=b", good + "&scope=", good + "&x=%zz", good + ";audience=b", "audience=a", ""} {
		f.Add(kind, body)
	}
	f.Add("application/json", good)
	f.Add(kind+"; charset=x", good)
	f.Fuzz(func(t *testing.T, kind, body string) {
		w, answer := fuzzed(t, "POST", "/v1/token", http.Header{"Content-Type": {kind}}, body)
		sent, err := url.ParseQuery(body)
		once := func(name, value string) bool { return len(sent[name]) == 1 && sent.Get(name) == value }
		whole := err == nil && once("grant_type", GrantExchange) && once("subject_token", "good") && once("audience", "a")
		if made := strings.Contains(answer, `"made"`); made != (w.Code == 200) || made && !whole {
			t.Errorf("%q: %d, %s", body, w.Code, answer)
		}
		if w.Code != 200 && w.Code != 400 {
			t.Errorf("%q: %d", body, w.Code)
		}
	})
}

// FuzzBearer: whoami knows the token alone, after the one word Bearer, in one header.
func FuzzBearer(f *testing.F) {
	for _, value := range []string{"Bearer good", "bearer good", "Bearer  good", "Bearer good, Bearer good", "Basic good", "good", "Bearer\tgood", ""} {
		f.Add(value, "")
		f.Add(value, "Bearer good")
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		header := http.Header{"Authorization": {first}}
		if second != "" {
			header.Add("Authorization", second)
		}
		w, answer := fuzzed(t, "GET", "/v1/whoami", header, "")
		scheme, token, _ := strings.Cut(first, " ")
		good := second == "" && strings.EqualFold(scheme, "bearer") && strings.TrimSpace(token) == "good"
		if (w.Code == 200) != good || good != strings.Contains(answer, `"active":true`) {
			t.Errorf("%q, %q: %d, %s", first, second, w.Code, answer)
		}
		if told := w.Header().Get("WWW-Authenticate"); (w.Code == 401) != strings.HasPrefix(told, "Bearer ") || strings.ContainsAny(told, "\r\n\x00") {
			t.Errorf("%d: %q", w.Code, told)
		}
	})
}

// FuzzIntrospect: a token is good or nothing is said of it.
func FuzzIntrospect(f *testing.F) {
	for _, body := range []string{"token=good", "token=bad", "token=good&token=good", "token=", "token=good&token_type_hint=x", "%"} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		w, answer := fuzzed(t, "POST", "/v1/introspect", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, body)
		sent, err := url.ParseQuery(body)
		good := err == nil && len(sent["token"]) == 1 && sent.Get("token") == "good"
		active := strings.Contains(answer, `"active":true`)
		if active && !good || !active && w.Code == 200 && strings.TrimSpace(answer) != `{"active":false}` || w.Code != 200 && w.Code != 400 {
			t.Errorf("%q: %d, %s", body, w.Code, answer)
		}
	})
}
