package podman

import (
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containers/podman/v5/libpod/define"
	"github.com/containers/podman/v5/pkg/errorhandling"

	"openshell-vm/drivers"
	"openshell-vm/drivers/container"
)

func TestRequest(t *testing.T) {
	got, err := json.Marshal(requestOf(container.Object{
		Name: "openshell-1", Image: "image", Entrypoint: "/e", Stdin: true,
		Process: drivers.Process{Args: []string{"a", "b"}, Env: []string{"K=V=W", "EMPTY="}, Dir: "/d", User: "1:2", Terminal: true},
		Shares:  []container.Bind{{Source: "/s/auth", Target: drivers.AuthDir}},
		Binds:   []container.Bind{{Source: "/d", Target: "/data"}, {Source: "/w", Target: "/work", Recursive: true, Writable: true}},
		Masks:   []string{"/data/state"}, Labels: map[string]string{"l": "v"}, CPUs: 0.5, Memory: 64 << 20,
	}))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"name":"openshell-1","image":"image","command":["a","b"],"entrypoint":["/e"],"env":{"EMPTY":"","K":"V=W"},` +
		`"env_host":false,"httpproxy":false,"work_dir":"/d","user":"1:2","terminal":true,"stdin":true,"privileged":false,"labels":{"l":"v"},` +
		`"mounts":[` +
		`{"type":"bind","source":"/s/auth","destination":"/etc/openshell/auth","options":["bind","ro","rprivate","z"]},` +
		`{"type":"bind","source":"/d","destination":"/data","options":["bind","ro","rprivate"]},` +
		`{"type":"bind","source":"/w","destination":"/work","options":["rbind","rw","rprivate"]},` +
		`{"type":"tmpfs","source":"tmpfs","destination":"/data/state","options":["ro","notmpcopyup","size=4096","mode=0555"]}],` +
		`"restart_policy":"no","log_configuration":{"driver":"k8s-file","size":10485760},` +
		`"resource_limits":{"cpu":{"quota":50000,"period":100000},"memory":{"limit":67108864,"swap":67108864}}}`
	if string(got) != want {
		t.Errorf("\n%s, wanted\n%s", got, want)
	}
}

func TestWrap(t *testing.T) {
	for text, want := range map[string]error{
		`no container with name or ID "x" found: no such container`:                          drivers.ErrNotFound,
		`creating container storage: the container name "x" is already in use by abc`:        drivers.ErrExists,
		"can only kill running containers. abc is in state exited: container state improper": drivers.ErrNotRunning,
	} {
		err := wrap(&errorhandling.ErrorModel{Because: "cause", Message: text, ResponseCode: http.StatusInternalServerError})
		if !errors.Is(err, want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	err := wrap(&errorhandling.ErrorModel{Because: "cause", Message: "what: cause", ResponseCode: http.StatusTeapot})
	var r *refusal
	if !errors.As(err, &r) || r.code != http.StatusTeapot || err.Error() != "what: cause" {
		t.Errorf("%v", err)
	}
	if plain := errors.New("plain"); wrap(plain) != plain {
		t.Error("another error was changed")
	}
}

func TestState(t *testing.T) {
	for _, c := range []struct {
		in    define.InspectContainerState
		state drivers.State
		code  int
	}{
		{define.InspectContainerState{Status: "created"}, drivers.Created, 0},
		{define.InspectContainerState{Status: "initialized"}, drivers.Created, 0},
		{define.InspectContainerState{Status: "running"}, drivers.Running, 0},
		{define.InspectContainerState{Status: "stopping"}, drivers.Running, 0},
		{define.InspectContainerState{Status: "exited", ExitCode: 7}, drivers.Exited, 7},
		{define.InspectContainerState{Status: "stopped", ExitCode: 137, OOMKilled: true}, drivers.Exited, 137},
		{define.InspectContainerState{Status: "removing"}, drivers.Dead, 0},
	} {
		state, code, reason := stateOf(c.in)
		if state != c.state || code != c.code || (reason == "") != (!c.in.OOMKilled && state != drivers.Dead) {
			t.Errorf("%+v: %s %d %q", c.in, state, code, reason)
		}
	}
	if !timeOf(time.Time{}).IsZero() || !timeOf(time.Unix(0, 0)).IsZero() || timeOf(time.Unix(1e9, 0)).IsZero() {
		t.Error("Podman's zero times are not told from others")
	}
}

func TestFind(t *testing.T) {
	t.Setenv("CONTAINER_HOST", "unix:///env.sock")
	if got := (&engine{host: "unix:///mine.sock"}).find().Where(); got != "unix:///mine.sock (from the configuration)" {
		t.Errorf("configured: %s", got)
	}
	if got := (&engine{}).find().Where(); got != "unix:///env.sock (from CONTAINER_HOST)" {
		t.Errorf("CONTAINER_HOST: %s", got)
	}
	t.Setenv("CONTAINER_HOST", "")
	if got := (&engine{}).find().Where(); !strings.HasSuffix(got, "podman.sock (the default)") {
		t.Errorf("neither: %s", got)
	}
}

// No service is a finding of Probe and an error of the rest, with what to do.
func TestNoService(t *testing.T) {
	for host, says := range map[string]string{
		"unix://" + filepath.Join(t.TempDir(), "absent.sock"): "absent.sock (from the configuration): the socket does not exist",
		"ssh://me@there/run/podman.sock":                      "another machine",
		"nonsense://x":                                        "nonsense",
	} {
		d := New(Config{GatewayID: "gateway", Host: host})
		info := d.Probe(t.Context())
		if info.Usable || !strings.Contains(info.Problem, says) {
			t.Errorf("%s: %+v", host, info)
		}
		if _, err := d.List(t.Context()); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestProgress(t *testing.T) {
	var got []string
	report := func(p drivers.PullProgress) { got = append(got, p.Status) }
	err := readProgress(strings.NewReader(`{"stream":"Trying to pull x...\n"}
{"stream":"\n"}
{"images":["abc"],"id":"abc"}
`), report)
	if err != nil || len(got) != 1 || got[0] != "Trying to pull x..." {
		t.Errorf("%q, %v", got, err)
	}
	if err := readProgress(strings.NewReader(`{"error":"no such thing"}`), report); err == nil || err.Error() != "no such thing" {
		t.Errorf("%v", err)
	}
}
