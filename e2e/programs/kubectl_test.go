//go:build e2e

package programs_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// object is a JSON object.
type object = map[string]any

func reply(rw http.ResponseWriter, code int, body object) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(code)
	_ = json.NewEncoder(rw).Encode(body) // who asked may have left
}

// mintKube is a command that prints an ExecCredential.
func (s *servers) mintKube(rw http.ResponseWriter, _ *http.Request) {
	token, ends := s.kube.issue()
	reply(rw, http.StatusOK, object{"apiVersion": "client.authentication.k8s.io/v1beta1", "kind": "ExecCredential",
		"status": object{"token": token, "expirationTimestamp": ends.UTC().Format(time.RFC3339)}})
}

// kubeServer is an API server that has one pod. Each request has to have a good token.
func kubeServer(l *ledger) http.Handler {
	answers := map[string]object{
		"/api":    {"kind": "APIVersions", "versions": []string{"v1"}},
		"/apis":   {"kind": "APIGroupList", "apiVersion": "v1", "groups": []object{}},
		"/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": []object{{"name": "pods", "singularName": "", "namespaced": true, "kind": "Pod", "verbs": []string{"get", "list"}}}},
		"/api/v1/namespaces/default/pods": {"kind": "PodList", "apiVersion": "v1", "metadata": object{"resourceVersion": "1"}, "items": []object{
			{"apiVersion": "v1", "kind": "Pod", "metadata": object{"name": "a-pod", "namespace": "default"}}}},
	}
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		answer, known := answers[r.URL.Path]
		switch {
		case !l.take(token):
			reply(rw, http.StatusUnauthorized, object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Unauthorized", "code": 401})
		case !known:
			reply(rw, http.StatusNotFound, object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404})
		default:
			reply(rw, http.StatusOK, answer)
		}
	})
}

// kubeLoop calls kubectl again and again, and through a `kubectl proxy` that lives as long as the
// loop, until there is a file /tmp/stop.
const kubeLoop = `kubectl proxy --port 8001 >/tmp/proxy 2>&1 &
until wget -qO- http://127.0.0.1:8001/api >/dev/null 2>&1; do [ ! -e /tmp/stop ] || exit 1; sleep 0.3; done
n=0
while [ ! -e /tmp/stop ]; do
	kubectl get pods -o name >/tmp/pods || exit 1
	grep -qx pod/a-pod /tmp/pods || { cat /tmp/pods; exit 2; }
	wget -qO- http://127.0.0.1:8001/api/v1/namespaces/default/pods >/tmp/pods || { cat /tmp/proxy; exit 3; }
	grep -q a-pod /tmp/pods || { cat /tmp/pods; exit 4; }
	n=$((n+1)); sleep 0.3
done
kill $!; echo $n`

// testKubectl has kubectl go on over several tokens: new processes, and one that stays.
func (w *world) testKubectl(r *recipe) {
	w.host(w.dir("kubectl"), r.next("host"))
	w.named("operator")
	w.file("operator", "~/.kube/config", r.next("~/.kube/config"))
	if s := w.sandbox("operator"); len(s.Sources) != 1 || s.Sources[0].ExpiresAt.IsZero() {
		w.Errorf("inspect does not tell when it expires: %+v", s.Sources)
	}
	ended := w.loop("operator", kubeLoop)
	w.eventually("enough tokens have been used", 2*patience, func() bool { return w.Failed() || w.kube.turned(w) > w.rates.turns })
	w.Logf("%s times each", strings.TrimSpace(ended()))
	w.kube.settle(w, w.rates.turns, func(token string) int {
		request, err := http.NewRequest(http.MethodGet, "https://"+kubeName+"/api", nil)
		w.must(err)
		request.Header.Set("Authorization", "Bearer "+token)
		return w.call(kubeName, request)
	})
}

// loop runs lines in the sandbox that go on until there is a file /tmp/stop. The returned function
// ends them, and returns what they printed. A test that fails ends them, too.
func (w *world) loop(name, lines string) (end func() string) {
	w.Helper()
	done, out := make(chan struct{}), ""
	go func() {
		defer close(done)
		var err error
		if out, err = w.try("exec", name, "sh", "-c", lines); err != nil {
			w.Error(fmt.Errorf("%w\n%s", err, out))
		}
	}()
	end = sync.OnceValue(func() string {
		if _, err := w.try("exec", name, "touch", "/tmp/stop"); err != nil {
			w.Error(err)
		}
		<-done
		return out
	})
	w.Cleanup(func() { end() })
	return end
}
