package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/discovery"
)

const issuerKeys = `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AAAA","kid":"f00f00","use":"sig","alg":"EdDSA"},` +
	`{"kty":"EC","crv":"P-256","x":"BBBB","y":"CCCC","kid":"0ld0ld","use":"sig","alg":"ES256"}]}`

// issuerRoutes are a gateway with an issuer, which the world sees at a server of its own. If
// there is a file no-issuer, none is configured. If there is a file stale, the world lacks a key.
func (f *fake) issuerRoutes(mux *http.ServeMux) {
	issuer := sync.OnceValue(f.world) // until the test program ends
	mux.HandleFunc("GET /v1/issuer", func(w http.ResponseWriter, _ *http.Request) {
		i := api.Issuer{Name: "openshell-gateway:g1", TrustDomain: "openshell", Keys: []byte(issuerKeys)}
		if f.read("no-issuer") == "" {
			i.Name, i.URL, i.TrustDomain, i.PublishFor = issuer(), issuer(), "example.org", 15*time.Minute
			i.Former = []api.FormerIssuer{{Name: "openshell-gateway:g1", TrustDomain: "openshell", Until: time.Now().Add(time.Hour)}}
			i.Listener, i.Hook = "https://0.0.0.0:8443", "/bin/hook failed ×2: exit status 3: no \x1b[31mbucket"
		}
		answer(w, i)
	})
}

// world begins to serve what the world sees, and returns its URL.
func (f *fake) world() string {
	var world *httptest.Server
	world = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d, _ := discovery.Make(world.URL, []byte(issuerKeys), 15*time.Minute)
		w.Header().Set("Cache-Control", d.CacheControl())
		switch r.URL.Path {
		case discovery.ConfigurationPath:
			w.Header().Set("Content-Type", discovery.ConfigurationType)
			_, _ = w.Write(d.Configuration)
		case discovery.KeysPath:
			w.Header().Set("Content-Type", discovery.KeysType)
			text := string(d.Keys)
			if f.read("stale") != "" {
				text = strings.ReplaceAll(text, "f00f00", "gone00")
			}
			_, _ = w.Write([]byte(text))
		}
	}))
	return world.URL
}
