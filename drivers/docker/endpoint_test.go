package docker

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"openshell-vm/drivers"
)

// home is a user without anything of Docker's.
func home(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", dir)
	t.Setenv("XDG_RUNTIME_DIR", dir)
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// addContext stores a context as `docker context create` does.
func addContext(t *testing.T, dir, name, meta string) {
	t.Helper()
	sum := sha256.Sum256([]byte(name))
	write(t, filepath.Join(dir, ".docker", "contexts", "meta", hex.EncodeToString(sum[:]), "meta.json"), meta)
}

func TestFind(t *testing.T) {
	const mine = `{"Name":"mine","Metadata":{},"Endpoints":{"docker":{"Host":"unix:///run/mine.sock","SkipTLSVerify":false}}}`
	for name, c := range map[string]struct {
		configured string
		env        map[string]string
		current    string
		host, from string // "" host: refused
		says       string
	}{
		"configured": {configured: "unix:///a.sock", env: map[string]string{"DOCKER_HOST": "unix:///b.sock"}, host: "unix:///a.sock"},
		"the variable": {env: map[string]string{"DOCKER_HOST": "unix:///b.sock"}, current: "mine",
			host: "unix:///b.sock", from: "from DOCKER_HOST"},
		"the current context":    {current: "mine", host: "unix:///run/mine.sock", from: `from docker context "mine"`},
		"the variable's context": {env: map[string]string{"DOCKER_CONTEXT": "mine"}, current: "absent", host: "unix:///run/mine.sock"},
		"the default context":    {env: map[string]string{"DOCKER_CONTEXT": "default"}, current: "absent", host: "unix://" + systemSocket},
		"nothing":                {host: "unix://" + systemSocket, from: "the default"},
		"an absent context":      {current: "absent", says: "no such context"},
		"a torn context":         {current: "torn", says: "unexpected end"},
		"one for kubernetes":     {current: "other", says: "no endpoint for docker"},
		"an unchecked one":       {current: "unchecked", says: "unchecked"},
		"another machine":        {current: "remote", says: "another machine"},
		"another machine by env": {env: map[string]string{"DOCKER_HOST": "ssh://me@there"}, says: "another machine"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := home(t)
			addContext(t, dir, "mine", mine)
			addContext(t, dir, "torn", `{"Endpoints":`)
			addContext(t, dir, "other", `{"Endpoints":{"kubernetes":{}}}`)
			addContext(t, dir, "unchecked", `{"Endpoints":{"docker":{"Host":"tcp://127.0.0.1:1","SkipTLSVerify":true}}}`)
			addContext(t, dir, "remote", `{"Endpoints":{"docker":{"Host":"ssh://me@there"}}}`)
			if c.current != "" {
				write(t, filepath.Join(dir, ".docker", "config.json"), `{"currentContext":"`+c.current+`"}`)
			}
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			e, err := find(c.configured, "")
			if c.says != "" {
				if err == nil || !strings.Contains(err.Error(), c.says) || drivers.HintOf(err) == "" {
					t.Errorf("%+v, %v, hint %q", e, err, drivers.HintOf(err))
				}
				return
			}
			if err != nil || e.Host != c.host || c.from != "" && e.From != c.from {
				t.Errorf("%+v, %v", e, err)
			}
		})
	}
}

func TestFindsRootless(t *testing.T) {
	if conn, err := net.Dial("unix", systemSocket); err == nil {
		conn.Close()
		t.Skip("this machine's own engine comes first")
	}
	dir := home(t)
	l, err := net.Listen("unix", filepath.Join(dir, "docker.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if e, err := find("", ""); err != nil || e.Host != "unix://"+filepath.Join(dir, "docker.sock") {
		t.Errorf("%+v, %v", e, err)
	}
}

// An engine that was not there at first is found once it is.
func TestFoundLater(t *testing.T) {
	dir := home(t)
	system := systemSocket
	systemSocket = filepath.Join(dir, "system.sock")
	t.Cleanup(func() { systemSocket = system })
	d := New(Config{GatewayID: "gateway"})
	if info := d.Probe(t.Context()); info.Usable || !strings.Contains(info.Problem, "system.sock") {
		t.Errorf("%+v", info)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "docker.sock"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("API-Version", "1.43")
		if strings.HasSuffix(r.URL.Path, "/info") {
			_, _ = w.Write([]byte(`{"ServerVersion":"rootless","OSType":"linux"}`))
		}
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	if info := d.Probe(t.Context()); !info.Usable || info.Version != "Docker rootless" {
		t.Errorf("%+v", info)
	}
}

// No engine is a finding of Probe and an error of the rest, with what to do.
func TestNoEngine(t *testing.T) {
	home(t)
	d := New(Config{GatewayID: "gateway", Host: "unix://" + filepath.Join(t.TempDir(), "absent.sock")})
	info := d.Probe(t.Context())
	if info.Usable || !strings.Contains(info.Problem, "absent.sock (from the configuration): the socket does not exist") || info.Hint == "" {
		t.Errorf("%+v", info)
	}
	if _, err := d.List(t.Context()); err == nil || !strings.Contains(err.Error(), "does not exist") || drivers.HintOf(err) == "" {
		t.Errorf("%v", err)
	}
}

func TestLogin(t *testing.T) {
	dir := home(t)
	if got := login("debian"); got != "" {
		t.Errorf("without a login: %q", got)
	}
	write(t, filepath.Join(dir, ".docker", "config.json"), `{"auths":{
		"https://index.docker.io/v1/":{"auth":"bWU6c2VjcmV0"}, "example.org":{"auth":"%%%"}}}`)
	if got := login("debian:12"); got == "" {
		t.Error("the login to docker.io is not found")
	}
	for _, image := range []string{"example.org/x", "elsewhere.org/x", "UPPER"} {
		if got := login(image); got != "" {
			t.Errorf("%s: %q", image, got)
		}
	}
}
