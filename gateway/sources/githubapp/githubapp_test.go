package githubapp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openshell-vm/gateway/sources/ask/asktest"
	"openshell-vm/internal/vocab"
)

const planted = "ghs_planted0123456789"

func newGitHub(t *testing.T) (g *asktest.GitHub, app vocab.GitHubApp, m func(vocab.GitHubApp) *Maker) {
	g = asktest.NewGitHub(t, nil)
	path := filepath.Join(t.TempDir(), "app.pem")
	write(t, path, g.Key())
	app = vocab.GitHubApp{App: asktest.App, Installation: asktest.Installation, Key: path, URL: g.URL}
	read := func(_ context.Context, path string, _ int64) ([]byte, error) { return os.ReadFile(path) }
	return g, app, func(app vocab.GitHubApp) *Maker { return New(app, read) }
}

func write(t *testing.T, path string, data []byte) {
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestMake(t *testing.T) {
	g, app, maker := newGitHub(t)
	at := time.Now().Add(time.Hour).Truncate(time.Second)
	g.Answer(func(w http.ResponseWriter) { asktest.Give(w, planted, at, "Acme/web") })
	app.Repositories = []string{"acme/web", "docs"}
	files, expires, err := maker(app).Make(t.Context())
	host := strings.TrimPrefix(app.URL, "http://")
	if err != nil || !expires.Equal(at) || string(files[TokenFile]) != planted ||
		string(files[CredentialFile]) != "http://x-access-token:"+planted+"@"+host+"\n" || len(files) != 2 {
		t.Errorf("%q, %v, %v", files, expires, err)
	}
	if asked, _ := g.Asked(); len(asked) != 1 || asked[0] != "web docs" {
		t.Errorf("asked for %q", asked)
	}
	m := maker(app)
	other := g.NewKey(t)
	if _, _, err := m.Make(t.Context()); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("with a former key: %v", err)
	}
	write(t, app.Key, other)
	if _, _, err := m.Make(t.Context()); err != nil {
		t.Errorf("with the new key: %v", err)
	}
}

// TestFaults: each has a reason, and none of what the server sent, or of the key, is in it.
func TestFaults(t *testing.T) {
	g, app, maker := newGitHub(t)
	hour := time.Now().Add(time.Hour)
	led := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { led = true; asktest.Give(w, planted, hour) }))
	defer elsewhere.Close()
	for name, c := range map[string]struct {
		change func(*vocab.GitHubApp)
		answer func(w http.ResponseWriter)
		says   string
	}{
		"another app":          {change: func(a *vocab.GitHubApp) { a.App = "1" }, says: "HTTP 401"},
		"another installation": {change: func(a *vocab.GitHubApp) { a.Installation = 9 }, says: "no installation 9"},
		"no key":               {change: func(a *vocab.GitHubApp) { a.Key += "x" }, says: "no such file"},
		"a bad key":            {change: func(a *vocab.GitHubApp) { a.Key += ".bad"; write(t, a.Key, []byte(planted)) }, says: "no RSA private key"},
		"nobody there":         {change: func(a *vocab.GitHubApp) { a.URL = "http://127.0.0.1:1" }, says: "can't be reached"},
		"no TLS there":         {change: func(a *vocab.GitHubApp) { a.URL = strings.Replace(a.URL, "http:", "https:", 1) }, says: "can't be read"},
		"refused":              {answer: func(w http.ResponseWriter) { http.Error(w, planted, http.StatusForbidden) }, says: "HTTP 403"},
		"no such repository":   {answer: func(w http.ResponseWriter) { http.Error(w, planted, http.StatusUnprocessableEntity) }, says: "not all of the repo"},
		"broken":               {answer: func(w http.ResponseWriter) { w.WriteHeader(201); fmt.Fprint(w, `{"token":"`+planted) }, says: "can't be read"},
		"no JSON":              {answer: func(w http.ResponseWriter) { w.WriteHeader(201); fmt.Fprint(w, planted) }, says: "can't be read"},
		"endless": {answer: func(w http.ResponseWriter) {
			w.WriteHeader(201)
			fmt.Fprint(w, `{"token":"`)
			for chunk := strings.Repeat("x", 1<<20); ; {
				if _, err := fmt.Fprint(w, chunk); err != nil {
					return
				}
			}
		}, says: "too large"},
		"no token":   {answer: func(w http.ResponseWriter) { asktest.Give(w, "", hour) }, says: "no token"},
		"two lines":  {answer: func(w http.ResponseWriter) { asktest.Give(w, planted+"\nx", hour) }, says: "no token"},
		"expired":    {answer: func(w http.ResponseWriter) { asktest.Give(w, planted, time.Now().Add(-time.Minute)) }, says: "expired already"},
		"redirected": {answer: func(w http.ResponseWriter) { w.Header().Set("Location", elsewhere.URL); w.WriteHeader(307) }, says: "HTTP 307"},
		"another owner's": {change: func(a *vocab.GitHubApp) { a.Repositories = []string{"acme/web"} },
			answer: func(w http.ResponseWriter) { asktest.Give(w, planted, hour, "evil/web") }, says: "does not have acme/web"},
	} {
		t.Run(name, func(t *testing.T) {
			app := app
			if c.change != nil {
				c.change(&app)
			}
			if g.Answer(c.answer); c.answer == nil {
				g.Answer(func(w http.ResponseWriter) { asktest.Give(w, planted, hour) })
			}
			files, _, err := maker(app).Make(t.Context())
			if err == nil || files != nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), planted) {
				t.Errorf("%q, %v; want %q", files, err, c.says)
			}
		})
	}
	if led {
		t.Error("a redirect was followed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	done := make(chan struct{})
	g.Answer(func(http.ResponseWriter) { <-done })
	_, _, err := maker(app).Make(ctx)
	close(done)
	if err == nil || !strings.Contains(err.Error(), "in time") || errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a server that hangs: %v", err)
	}
}

func TestCheck(t *testing.T) {
	good := vocab.GitHubApp{App: "Iv1.abc", Installation: 1, Repositories: []string{"a/b", "c"}}
	if err := Check(good); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*vocab.GitHubApp){
		"app":          func(a *vocab.GitHubApp) { a.App = "a b" },
		"installation": func(a *vocab.GitHubApp) { a.Installation = 0 },
		"repository":   func(a *vocab.GitHubApp) { a.Repositories = []string{"a/b/c"} },
		"many":         func(a *vocab.GitHubApp) { a.Repositories = make([]string, mostAsked+1) },
		"http":         func(a *vocab.GitHubApp) { a.URL = "http://github.example.com" },
		"user":         func(a *vocab.GitHubApp) { a.URL = "https://u:p@github.example.com" },
		"path":         func(a *vocab.GitHubApp) { a.URL = "https://github.example.com/api/v3" },
		"scheme":       func(a *vocab.GitHubApp) { a.URL = "file:///etc" },
	} {
		bad := good
		if change(&bad); Check(bad) == nil {
			t.Errorf("%s: %+v is accepted", name, bad)
		}
	}
	for raw, want := range map[string]string{
		"": "https://github.com https://api.github.com", "https://api.github.com/": "https://github.com https://api.github.com",
		"https://acme.ghe.com":        "https://acme.ghe.com https://api.acme.ghe.com",
		"https://git.example.com:444": "https://git.example.com:444 https://git.example.com:444/api/v3",
	} {
		if git, api, err := places(raw); err != nil || git.String()+" "+api.String() != want {
			t.Errorf("%q: %v %v %v", raw, git, api, err)
		}
	}
}
