//go:build e2e

package podman

import (
	"context"
	"crypto/rand"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/drivers/container"
	"openshell-vm/drivers/driverstest"
	"openshell-vm/drivers/driverstest/testhost"
)

func TestConformance(t *testing.T) {
	name := "podman"
	if os.Getuid() != 0 {
		name = "rootless"
	}
	engine := testhost.FindEngine(t, name)
	raw := &engineAPI{}
	dir, mountable := testhost.WorkDir(t)
	driverstest.Run(t, driverstest.Harness{
		Name: New(Config{}).Probe(t.Context()).Version + ", " + name,
		New: func(gatewayID string) drivers.Driver {
			return New(Config{GatewayID: gatewayID})
		},
		Dir: dir, Mountable: mountable, Blind: true, LosesOwners: true, Uncounted: os.Getuid() != 0, Netns: engine.Netns(), Server: testhost.Address,
		Complete:      func(_ testing.TB, s *drivers.Spec) { s.Image = testhost.Image },
		RestartEngine: func(t testing.TB) { engine.Do(t, "restart") },
		RemoveBehind:  raw.remove,
		Impostor:      raw.impostor,
		Metadata:      raw.metadata,
		Unload:        raw.unload,
		Limits:        map[string]string{"a device node": "not permitted"}, // Podman keeps that right from containers
	})
}

// The same as an ordinary user with a rootless service of their own.
func TestConformanceRootless(t *testing.T) {
	testhost.FindEngine(t, "rootless").AsUser(t, 16000, nil, "^TestConformance$", "CONTAINER_HOST="+os.Getenv("OPENSHELL_ROOTLESS_HOST"))
}

// engineAPI asks the service without the driver.
type engineAPI struct{ engine }

func (e *engineAPI) remove(t testing.TB, id string) {
	if err := e.Remove(t.Context(), "openshell-"+id); err != nil {
		t.Fatal(err)
	}
}

func TestImageSource(t *testing.T) {
	testhost.FindEngine(t, "podman")
	driverstest.ImageSource(t, "containers-storage")
}

// unload does what podman rmi does.
func (e *engineAPI) unload(_ testing.TB, ref string) {
	_ = e.call(context.Background(), http.MethodDelete, "/images/%s", url.Values{"force": {"true"}}, nil, nil, ref)
}

// impostor does what `podman import --change LABEL=…` and `podman run` do.
func (e *engineAPI) impostor(t testing.TB, name string, labels map[string]string, onImage bool) {
	t.Helper()
	request := map[string]any{"name": name, "image": testhost.Image, "command": []string{"sh", "-c", "exit 3"}, "labels": labels}
	if onImage {
		request["image"], request["labels"] = e.importLabelled(t, labels), nil
	}
	var made struct{ ID string }
	if err := e.call(t.Context(), http.MethodPost, "/containers/create", nil, request, &made); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Remove(context.Background(), made.ID) })
	if err := e.call(t.Context(), http.MethodPost, "/containers/%s/start", nil, nil, nil, made.ID); err != nil {
		t.Fatal(err)
	}
}

// importLabelled imports the test image's content again, with labels.
func (e *engineAPI) importLabelled(t testing.TB, labels map[string]string) (ref string) {
	t.Helper()
	root, err := os.Open(filepath.Join(os.Getenv("OPENSHELL_ENGINES"), "busybox.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	ref = "localhost/openshell-impostor:" + strings.ToLower(rand.Text())
	query := url.Values{"reference": {ref}}
	for k, v := range labels {
		query.Add("changes", "LABEL "+k+"="+strconv.Quote(v))
	}
	conn, err := e.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	response, err := conn.DoRequest(t.Context(), root, http.MethodPost, "/images/import", query,
		http.Header{"Content-Type": {"application/x-tar"}})
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := response.Process(nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = e.call(context.Background(), http.MethodDelete, "/images/%s", values("force", "true"), nil, nil, ref)
	})
	return ref
}

// metadata is all that inspect says, the process's own view of its spec included.
func (e *engineAPI) metadata(t testing.TB, id string) []byte {
	response, err := e.send(t.Context(), http.MethodGet, "/containers/%s/json", values("size", "true"), nil, "openshell-"+id)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// around is the engine with something that happens around each start.
type around struct {
	*engine
	start func(start func() error) error
}

func (a around) Start(ctx context.Context, name string) error {
	return a.start(func() error { return a.engine.Start(ctx, name) })
}

func TestSwappedSource(t *testing.T) {
	testhost.FindEngine(t, "podman")
	dir, mountable := testhost.WorkDir(t)
	driverstest.Swapped(t, driverstest.Harness{
		Name: "podman", New: func(gatewayID string) drivers.Driver { return New(Config{GatewayID: gatewayID}) },
		Dir: dir, Mountable: mountable, Complete: func(_ testing.TB, s *drivers.Spec) { s.Image = testhost.Image },
	}, func(gatewayID string, start func(func() error) error) drivers.Driver {
		return container.New(around{&engine{}, start}, gatewayID)
	})
}

func TestMounting(t *testing.T) {
	testhost.FindEngine(t, "podman")
	raw := &engineAPI{}
	driverstest.Mounting(t, New(Config{}), func(t testing.TB, name, source, target string) {
		err := raw.call(t.Context(), http.MethodPost, "/containers/create", nil, map[string]any{"name": name, "image": testhost.Image,
			"command": []string{"true"}, "mounts": []mount{{"bind", source, target, []string{"ro"}}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = raw.Remove(context.Background(), name) })
	})
}

func TestEngineGone(t *testing.T) {
	driverstest.EngineGone(t, "podman", New(Config{GatewayID: "gone00000000"}))
}

func TestWrongImage(t *testing.T) {
	testhost.FindEngine(t, "podman")
	driverstest.WrongImages(t, New(Config{GatewayID: "gone00000000"}), "localhost:1/no/such:image", "localhost/no-such-image-here:none")
}
