//go:build e2e

package podman

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest"
)

func TestConformance(t *testing.T) {
	name := "podman"
	if os.Getuid() != 0 {
		name = "rootless"
	}
	engine := driverstest.Engine(t, name)
	raw := &engineAPI{}
	dir, mountable := driverstest.WorkDir(t)
	driverstest.Run(t, driverstest.Harness{
		Name: New(Config{}).Probe(t.Context()).Version + ", " + name,
		New: func(gatewayID string) drivers.Driver {
			return New(Config{GatewayID: gatewayID})
		},
		Dir: dir, Mountable: mountable, Blind: true,
		Complete:      func(_ testing.TB, s *drivers.Spec) { s.Image = driverstest.Image },
		RestartEngine: func(t testing.TB) { engine.Do(t, "restart") },
		RemoveBehind:  raw.remove,
		Metadata:      raw.metadata,
	})
}

// The same as an ordinary user with a rootless service of their own.
func TestConformanceRootless(t *testing.T) {
	driverstest.Engine(t, "rootless")
	driverstest.AsUser(t, 16000, nil, "^TestConformance$", "CONTAINER_HOST="+os.Getenv("OPENSHELL_ROOTLESS_HOST"))
}

// engineAPI asks the service without the driver.
type engineAPI struct{ engine }

func (e *engineAPI) remove(t testing.TB, id string) {
	if err := e.Remove(t.Context(), "openshell-"+id); err != nil {
		t.Fatal(err)
	}
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

func TestOverhead(t *testing.T) {
	driverstest.Engine(t, "podman")
	command, err := exec.LookPath("podman")
	if err != nil {
		driverstest.Missing(t, "no podman command to compare with: %v", err)
	}
	dir, _ := driverstest.WorkDir(t)
	driverstest.Overhead(t, driverstest.Harness{
		Name:     New(Config{}).Probe(t.Context()).Version,
		New:      func(gatewayID string) drivers.Driver { return New(Config{GatewayID: gatewayID}) },
		Dir:      dir,
		Complete: func(_ testing.TB, s *drivers.Spec) { s.Image = driverstest.Image },
	}, []string{command, "--remote", "--url", os.Getenv("CONTAINER_HOST"), "run", "--rm", "--mount", "type=bind,ro,src=/usr,dst=/data", driverstest.Image})
}

func TestEngineGone(t *testing.T) {
	driverstest.EngineGone(t, "podman", New(Config{GatewayID: "gone00000000"}))
}

func TestWrongImage(t *testing.T) {
	driverstest.Engine(t, "podman")
	driverstest.WrongImages(t, New(Config{GatewayID: "gone00000000"}), "localhost:1/no/such:image", "localhost/no-such-image-here:none")
}
