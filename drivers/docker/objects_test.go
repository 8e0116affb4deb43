package docker

import (
	"encoding/json"
	"strings"
	"testing"

	api "github.com/docker/docker/api/types/container"

	"openshell-vm/drivers"
	"openshell-vm/drivers/container"
)

func TestHostConfig(t *testing.T) {
	o := container.Object{
		Shares: []container.Bind{{Source: "/s/auth", Target: drivers.AuthDir}},
		Binds:  []container.Bind{{Source: "/d", Target: "/data", Recursive: true}, {Source: "/w", Target: "/work", Recursive: true, Writable: true}},
		Masks:  []string{"/data/state"}, CPUs: 1.5, Memory: 64 << 20,
	}
	h := hostConfigOf(o)
	got, err := json.Marshal(h.Mounts)
	if err != nil {
		t.Fatal(err)
	}
	const want = `[` +
		`{"Type":"bind","Source":"/s/auth","Target":"/etc/openshell/auth","ReadOnly":true,` +
		`"BindOptions":{"Propagation":"rprivate","NonRecursive":true}},` +
		`{"Type":"bind","Source":"/d","Target":"/data","ReadOnly":true,"BindOptions":{"Propagation":"rprivate","ReadOnlyForceRecursive":true}},` +
		`{"Type":"bind","Source":"/w","Target":"/work","BindOptions":{"Propagation":"rprivate"}},` +
		`{"Type":"tmpfs","Target":"/data/state","ReadOnly":true,"TmpfsOptions":{"SizeBytes":4096,"Mode":365}}]`
	if string(got) != want {
		t.Errorf("mounts\n%s, wanted\n%s", got, want)
	}
	if h.RestartPolicy.Name != "no" || len(h.Binds) != 0 || h.Privileged || len(h.CapAdd) != 0 {
		t.Errorf("%+v", h)
	}
	if h.NanoCPUs != 1_500_000_000 || h.Memory != 64<<20 || h.MemorySwap != h.Memory {
		t.Errorf("limits %+v", h.Resources)
	}
}

// What an image has of its own is replaced where that is asked for, and only there.
func TestEntrypoint(t *testing.T) {
	o := container.Object{Image: "image"}
	if c := configOf(o); c.Image != "image" || c.Entrypoint != nil {
		t.Errorf("%+v", c)
	}
	o.Entrypoint = "/e"
	if c := configOf(o); len(c.Entrypoint) != 1 || c.Entrypoint[0] != "/e" {
		t.Errorf("%+v", c)
	}
}

// A fraction is passed on as it was given, not a billionth less.
func TestFractionOfACPU(t *testing.T) {
	for cpus, want := range map[float64]int64{0.5: 500_000_000, 0.29: 290_000_000, 1.15: 1_150_000_000, 0: 0} {
		if got := hostConfigOf(container.Object{CPUs: cpus}).NanoCPUs; got != want {
			t.Errorf("%g CPUs are %d", cpus, got)
		}
	}
}

func TestState(t *testing.T) {
	for _, c := range []struct {
		in     api.State
		state  drivers.State
		code   int
		reason string
	}{
		{api.State{Status: "created"}, drivers.Created, 0, ""},
		{api.State{Status: "created", ExitCode: 127, Error: `exec: "x": not found`}, drivers.Exited, 127, "not found"},
		{api.State{Status: "created", ExitCode: 128, Error: "no network"}, drivers.Created, 0, "no network"},
		{api.State{Status: "running"}, drivers.Running, 0, ""},
		{api.State{Status: "paused"}, drivers.Running, 0, container.Paused},
		{api.State{Status: "exited", ExitCode: 7}, drivers.Exited, 7, ""},
		{api.State{Status: "exited", ExitCode: 137, OOMKilled: true}, drivers.Exited, 137, "memory"},
		{api.State{Status: "dead"}, drivers.Dead, 0, "dead"},
	} {
		state, code, reason := stateOf(&c.in)
		if state != c.state || code != c.code || !strings.Contains(reason, c.reason) || (reason == "") != (c.reason == "") {
			t.Errorf("%+v: %s %d %q", c.in, state, code, reason)
		}
	}
}

func TestProgress(t *testing.T) {
	var got []drivers.PullProgress
	report := func(p drivers.PullProgress) { got = append(got, p) }
	err := readProgress(strings.NewReader(`{"status":"Pulling from library/debian","id":"12"}
{"status":"Downloading","progressDetail":{"current":5,"total":10},"id":"abc"}
{"errorDetail":{"message":"no space"},"error":"no space"}
`), report)
	want := drivers.PullProgress{Layer: "abc", Status: "Downloading", Current: 5, Total: 10}
	if err == nil || err.Error() != "no space" || len(got) != 2 || got[1] != want {
		t.Errorf("%+v, %v", got, err)
	}
	if err := readProgress(strings.NewReader(`{"status":"Pu`), report); err == nil {
		t.Error("a torn report was taken for a whole one")
	}
}
