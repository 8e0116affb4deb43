package images

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"openshell-vm/drivers/vm/images/imagetest"
	"openshell-vm/internal/vocab"
)

// TestLogin: a registry that wants a login gets what docker login or podman login has kept, also
// by a helper program. One without a login, or with a wrong one, is told what to do.
func TestLogin(t *testing.T) {
	locked := false
	registry := imagetest.Serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if user, password, _ := r.BasicAuth(); locked && (user != "jo" || password != "secret-password") {
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	ref := registry.Push(small(t, "x"), "team/private:1")
	locked = true
	auths := func(user, password string) string {
		return fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, registry.Host, base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
	}
	good := auths("jo", "secret-password")
	part := strings.Replace(good, registry.Host, registry.Host+"/team", 1)
	helpers := t.TempDir()
	script := "#!/bin/sh\nread server\n[ \"$1 $server\" = \"get " + registry.Host + "\" ] || exit 1\n" +
		`echo '{"ServerURL":"x","Username":"jo","Secret":"secret-password"}'` + "\n"
	if err := os.WriteFile(filepath.Join(helpers, "docker-credential-suite"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", helpers+":"+os.Getenv("PATH"))
	for name, test := range map[string]struct {
		files map[string]string // below HOME
		env   map[string]string // values begin at HOME
		fail  string
	}{
		"docker":        {files: map[string]string{".docker/config.json": good}},
		"DOCKER_CONFIG": {files: map[string]string{"other/config.json": good}, env: map[string]string{"DOCKER_CONFIG": "other"}},
		"podman":        {files: map[string]string{".config/containers/auth.json": good}},
		"podman, and a docker that knows others": {files: map[string]string{
			".docker/config.json": `{"auths":{"elsewhere":{"auth":"am86eA=="}}}`, "run/containers/auth.json": good},
			env: map[string]string{"XDG_RUNTIME_DIR": "run"}},
		"REGISTRY_AUTH_FILE": {files: map[string]string{"auth.json": good}, env: map[string]string{"REGISTRY_AUTH_FILE": "auth.json"}},
		"podman, for a part": {files: map[string]string{".config/containers/auth.json": part}},
		"a helper":           {files: map[string]string{".docker/config.json": fmt.Sprintf(`{"credHelpers":{%q:"suite"}}`, registry.Host)}},
		"a helper for all":   {files: map[string]string{".docker/config.json": `{"credsStore":"suite"}`}},
		"none":               {fail: "gives it to nobody without a login"},
		"a wrong one":        {files: map[string]string{".docker/config.json": auths("jo", "wrong-password")}, fail: "gives it to nobody without a login"},
		"a broken file":      {files: map[string]string{".docker/config.json": "{"}, fail: "find the login for " + registry.Host},
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			for file, text := range test.files {
				path := filepath.Join(home, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			getenv := func(key string) string {
				if value, ok := test.env[key]; ok {
					return filepath.Join(home, value)
				}
				return map[string]string{"HOME": home}[key]
			}
			_, err := Pull(t.Context(), Request{Dir: filepath.Join(home, "store"), Reference: ref}, getenv, func(vocab.PullProgress) {})
			switch {
			case test.fail == "" && err != nil:
				t.Error(err)
			case test.fail != "" && (err == nil || !strings.Contains(err.Error(), test.fail)):
				t.Errorf("%v, not …%s", err, test.fail)
			case err != nil && strings.Contains(err.Error(), "password"):
				t.Errorf("it tells the password: %v", err)
			}
		})
	}
}
