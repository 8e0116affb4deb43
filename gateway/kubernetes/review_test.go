package kubernetes

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"openshell-vm/gateway/config"
	"openshell-vm/gateway/kubernetes/clustertest"
)

const reviews = "/apis/authentication.k8s.io/v1/tokenreviews"

// TestReview: the API server is asked about each token, so what was deleted is refused at once; and
// when it is away nothing is given.
func TestReview(t *testing.T) {
	w := newWorld(t, config.ByReview)
	for range 3 {
		w.must(w.good())
	}
	if asked := w.cluster.Requests(); len(asked) != 3 || asked[0] != reviews {
		t.Errorf("asked: %v", asked)
	}
	for _, uid := range []string{"u-pod", "u-sa"} {
		w.cluster.Set(func() { w.cluster.Gone = map[string]bool{uid: true} })
		if _, bad := w.exchange(w.cluster.Token(w.good()), allowed); !strings.HasPrefix(bad, badToken) || !strings.Contains(bad, "has been invalidated") {
			t.Errorf("%s was deleted: %q", uid, bad)
		}
	}
	w.cluster.Set(func() { w.cluster.Gone = nil })
	next := clustertest.NewKey(t, "ES256", "next")
	w.cluster.Set(func() { w.cluster.Keys = []clustertest.Key{next} })
	w.must(w.good())

	token := w.cluster.Token(w.good())
	w.cluster.Close()
	if _, bad := w.exchange(token, allowed); !strings.HasPrefix(bad, "temporarily_unavailable: the cluster's API server can't review") {
		t.Errorf("away: %q", bad)
	}
	if line := w.Status(time.Now())["prod"]; !strings.Contains(line, "tokenreviews\": ") || strings.Contains(line, "the-gateway") {
		t.Errorf("%q", line)
	}
}

// TestReviewCredential: the credential is read each time, and one that is not good is told as ours.
func TestReviewCredential(t *testing.T) {
	w := newWorld(t, config.ByReview)
	w.must(w.good())
	set := func(text string) {
		if err := os.WriteFile(w.settings.TokenFile, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{"stale", "", "two words", "a\nb"} {
		set(text)
		if _, bad := w.exchange(w.cluster.Token(w.good()), allowed); !strings.HasPrefix(bad, "server_error: ") || strings.Contains(bad, w.settings.TokenFile) {
			t.Errorf("%q: %q", text, bad)
		}
	}
	w.cluster.Set(func() { w.cluster.Password = "next" })
	set("next")
	w.must(w.good())
	if err := os.Remove(w.settings.TokenFile); err != nil {
		t.Fatal(err)
	}
	if _, bad := w.exchange(w.cluster.Token(w.good()), allowed); !strings.HasPrefix(bad, "server_error: ") {
		t.Errorf("no file: %q", bad)
	}
}

// TestReviewAnswers: what an API server may answer beside yes and no. The credential goes to no other
// server.
func TestReviewAnswers(t *testing.T) {
	other := clustertest.New(t, kubeadm)
	yes := func(change func(status, user, extra map[string]any)) string {
		extra := map[string]any{extraPodName: []string{"runner-0"}, extraPodUID: []string{"u-pod"}}
		user := map[string]any{"username": "system:serviceaccount:agents:runner", "uid": "u-sa", "extra": extra}
		status := map[string]any{"authenticated": true, "audiences": []string{ours}, "user": user}
		change(status, user, extra)
		text, err := json.Marshal(map[string]any{"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "status": status})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	const away, wrong = "temporarily_unavailable: ", "server_error: "
	for _, c := range []struct {
		name   string
		status int
		body   string
		want   string
	}{
		{"yes", 201, yes(func(_, _, _ map[string]any) {}), ""},
		{"no", 201, yes(func(s, _, _ map[string]any) { s["authenticated"] = false; s["error"] = "\x1b[31mbad\nworse" }), badToken},
		{"for nobody", 201, yes(func(s, _, _ map[string]any) { delete(s, "audiences") }), badToken},
		{"for others", 201, yes(func(s, _, _ map[string]any) { s["audiences"] = []string{kubeadm} }), badToken},
		{"another user", 201, yes(func(_, u, _ map[string]any) { u["username"] = "admin" }), badToken},
		{"another ServiceAccount of that name", 201, yes(func(_, u, _ map[string]any) { u["uid"] = "u-sb" }), badToken},
		{"another pod", 201, yes(func(_, _, e map[string]any) { e[extraPodName] = []string{"runner-1"} }), badToken},
		{"another pod of that name", 201, yes(func(_, _, e map[string]any) { e[extraPodUID] = []string{"u-x"} }), badToken},
		{"two pods", 201, yes(func(_, _, e map[string]any) { e[extraPodUID] = []string{"u-pod", "u-x"} }), badToken},
		{"no pod", 201, yes(func(_, u, _ map[string]any) { delete(u, "extra") }), badToken},
		{"nothing", 201, "", wrong},
		{"an empty object", 201, "{}", badToken},
		{"another object", 201, `{"kind":"Pod","apiVersion":"v1"}`, wrong},
		{"no JSON", 201, "<html>", wrong},
		{"10 MB", 201, yes(func(s, _, _ map[string]any) { s["error"] = strings.Repeat("x", 10<<20) }), wrong},
		{"400", 400, "", wrong},
		{"403", 403, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}`, wrong},
		{"404", 404, "", wrong},
		{"429", 429, "", away},
		{"500", 500, "", away},
		{"503", 503, "", away},
		{"a redirect", 307, "", wrong},
	} {
		w := newWorld(t, config.ByReview)
		asked := 0
		w.cluster.Set(func() {
			w.cluster.Instead = func(to http.ResponseWriter, r *http.Request) bool {
				w.cluster.Set(func() { asked++ })
				_, _ = io.Copy(io.Discard, r.Body)
				to.Header().Set("Content-Type", "application/json")
				to.Header().Set("Location", other.URL+reviews)
				to.Header().Set("Retry-After", "1")
				to.Header().Set("Warning", `299 - "a warning"`)
				to.WriteHeader(c.status)
				fmt.Fprint(to, c.body)
				return true
			}
		})
		_, bad := w.exchange(w.cluster.Token(w.good()), allowed)
		if c.want == "" && bad != "" || !strings.HasPrefix(bad, c.want) || strings.ContainsAny(bad, "\x1b\n") || len(bad) > 500 {
			t.Errorf("%s: %q", c.name, bad)
		}
		if asked != 1 {
			t.Errorf("%s: asked %d times", c.name, asked)
		}
	}
	if n := len(other.Requests()); n != 0 {
		t.Errorf("another server was asked %d times", n)
	}
}

// TestSlowServer: a flood at a cluster whose API server does not answer ends in time, and delays
// nobody at another cluster.
func TestSlowServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, config.ByReview)
	second := clustertest.New(t, kubeadm)
	settings := w.settingsOf(second, config.ByReview)
	settings.Audience = ours + "/second"
	w.Configure(map[string]config.Cluster{"prod": w.settings, "second": settings})
	most, now := 0, 0
	arrived := make(chan struct{}, 1000)
	w.cluster.Set(func() {
		w.cluster.Instead = func(_ http.ResponseWriter, r *http.Request) bool {
			w.cluster.Set(func() { now++; most = max(most, now) })
			arrived <- struct{}{}
			_, _ = io.Copy(io.Discard, r.Body) // else the server does not see that who asked has gone
			<-r.Context().Done()
			w.cluster.Set(func() { now-- })
			return true
		}
	})
	token := w.cluster.Token(w.good())
	begin := time.Now()
	var flood sync.WaitGroup
	for range 200 {
		flood.Go(func() {
			if _, bad := w.exchange(token, allowed); !strings.HasPrefix(bad, "temporarily_unavailable: ") {
				t.Errorf("%q", bad)
			}
		})
	}
	<-arrived
	for range 20 {
		if _, bad := w.exchange(second.Token(second.Claims(ours+"/second")), allowed); bad != "" {
			t.Errorf("at another cluster: %q", bad)
		}
	}
	flood.Wait()
	if took := time.Since(begin); took > time.Minute {
		t.Errorf("200 exchanges with a server that does not answer took %v", took)
	}
	w.cluster.Set(func() {
		if most > maxRequests {
			t.Errorf("%d requests at a time", most)
		}
	})
}
