package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"openshell-vm/drivers/vm/images/imagetest"
)

// answers answers each request with a redirect.
type answers string

func (to answers) RoundTrip(q *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusTemporaryRedirect, Header: http.Header{"Location": {string(to)}},
		Body: http.NoBody, Request: q}, nil
}

// TestLeadsToThisHost: only a registry on this host can lead to this host's services.
func TestLeadsToThisHost(t *testing.T) {
	for _, to := range []string{"http://127.0.0.1:1/a", "https://127.1.1.1/a", "http://localhost:1/a", "http://[::1]:1/a", "https://a.localhost/", "http://0.0.0.0:1/"} {
		_, err := (&http.Client{Transport: &careful{next: answers(to), stall: time.Minute}}).Get("https://registry.example/v2/")
		if err == nil || !strings.Contains(err.Error(), "on this host") {
			t.Errorf("%s: %v", to, err)
		}
	}
	for registry, want := range map[string]bool{"localhost:5000": true, "127.0.0.1": true, "[::1]:5000": true, "index.docker.io": false, "10.0.0.1:5000": false} {
		if onThisHost(registry) != want {
			t.Errorf("%s: %v", registry, !want)
		}
	}
}

// TestStalls: a registry that begins an answer and does not go on is given up, whatever it
// was asked for, and that is what is said.
func TestStalls(t *testing.T) {
	stallAfter = 200 * time.Millisecond
	defer func() { stallAfter = time.Minute }()
	for _, what := range []string{"/manifests/", "/blobs/", "/token"} {
		t.Run(what, func(t *testing.T) {
			stalling := false
			end := make(chan struct{})
			registry := imagetest.Serve(t, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					switch {
					case stalling && strings.Contains(r.URL.Path, what):
						w.Header().Set("Content-Length", "1000")
						fmt.Fprint(w, `{"`)
						http.NewResponseController(w).Flush()
						<-end
					case stalling && what == "/token":
						w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="x"`)
						w.WriteHeader(http.StatusUnauthorized)
					default:
						next.ServeHTTP(w, r)
					}
				})
			})
			t.Cleanup(func() { close(end) })
			ref, err := Parse(registry.Push(imagetest.Image(t, v1.Config{}, imagetest.NewLayer(t).File("f", "x")), "x:1"))
			if err != nil {
				t.Fatal(err)
			}
			stalling = true
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err = Find(ctx, ref, Given{})
			if err == nil || !strings.Contains(err.Error(), "nothing came from "+registry.Host) || errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestSlowReader: whoever takes long between two reads is not the registry's fault.
func TestSlowReader(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, 1<<20)) }))
	defer server.Close()
	answer, err := (&http.Client{Transport: &careful{next: http.DefaultTransport, local: true, stall: 300 * time.Millisecond}}).Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.ReadFull(answer.Body, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(600 * time.Millisecond)
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		t.Error(err)
	}
}

// TestNoQueries: where a registry leads to is often a secret. No error tells it.
func TestNoQueries(t *testing.T) {
	const secret = "X-Amz-Signature=5ec4e7"
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request){
		"refused": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"cut off": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"further": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.1/other?"+secret, http.StatusTemporaryRedirect)
		},
	} {
		t.Run(name, func(t *testing.T) {
			leads := false
			registry := imagetest.Serve(t, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					switch {
					case strings.HasPrefix(r.URL.Path, "/elsewhere"):
						answer(w, r)
					case leads && strings.Contains(r.URL.Path, "/blobs/"):
						http.Redirect(w, r, "/elsewhere?"+secret, http.StatusTemporaryRedirect)
					default:
						next.ServeHTTP(w, r)
					}
				})
			})
			ref, err := Parse(registry.Push(imagetest.Image(t, v1.Config{}, imagetest.NewLayer(t).File("f", "x")), "x:1"))
			if err != nil {
				t.Fatal(err)
			}
			image, err := Find(t.Context(), ref, Given{})
			if err != nil {
				t.Fatal(err)
			}
			leads = true
			_, _, err = image.Layers[0].Open(t.Context(), 0)
			if err == nil || strings.Contains(err.Error(), "5ec4e7") {
				t.Errorf("a layer: %v", err)
			}
			if _, err = Find(t.Context(), ref, Given{}); err == nil || strings.Contains(err.Error(), "5ec4e7") {
				t.Errorf("the configuration: %v", err)
			}
		})
	}
}
