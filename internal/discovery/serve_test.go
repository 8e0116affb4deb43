package discovery

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestServe: each document has its type and says for how long it may be kept; an error does not
// say that it may be.
func TestServe(t *testing.T) {
	whole := documents(t, "https://x.example")
	for _, c := range []struct {
		method, path string
		documents    Documents
		err          error
		code         int
		kind, cache  string
		body         string
	}{
		{"GET", ConfigurationPath, whole, nil, 200, ConfigurationType, "public, max-age=600", `"issuer": "https://x.example"`},
		{"HEAD", KeysPath, whole, nil, 200, KeysType, "public, max-age=600", ""},
		{"GET", KeysPath, Documents{Keys: whole.Keys}, nil, 200, KeysType, "no-cache", `"kid":"one"`},
		{"GET", ConfigurationPath, Documents{Keys: whole.Keys}, nil, 404, "text/plain; charset=utf-8", "", "no URL"},
		{"GET", KeysPath, Documents{}, errors.New("secret"), 500, "text/plain; charset=utf-8", "", "can't be made now"},
		{"POST", KeysPath, whole, nil, 405, "text/plain; charset=utf-8", "", "only GET and HEAD"},
		{"GET", "/other", whole, nil, 404, "text/plain; charset=utf-8", "", "not found"},
	} {
		h := Handler{Documents: func(time.Time) (Documents, error) { return c.documents, c.err }, Log: slog.New(slog.DiscardHandler)}
		server := httptest.NewServer(h) // a real one leaves the body of HEAD out
		request, err := http.NewRequestWithContext(t.Context(), c.method, server.URL+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		var body strings.Builder
		_ = response.Write(&body)
		server.Close()
		if response.StatusCode != c.code || response.Header.Get("Content-Type") != c.kind ||
			response.Header.Get("Cache-Control") != c.cache || !strings.Contains(body.String(), c.body) || strings.Contains(body.String(), "secret") {
			t.Errorf("%s %s: %s", c.method, c.path, body.String())
		}
	}
}
