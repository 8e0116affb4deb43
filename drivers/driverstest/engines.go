package driverstest

import (
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/testhost"
)

// EngineGone kills the engine: a user sees one line and a hint, and the driver
// finds it again once it is back.
func EngineGone(t *testing.T, name string, d drivers.Driver) {
	engine := testhost.FindEngine(t, name)
	if info := d.Probe(t.Context()); !info.Usable {
		testhost.Missing(t, "%s", info.Problem)
	}
	engine.Do(t, "kill")
	t.Cleanup(func() { engine.Do(t, "start") })
	_, err := d.Inspect(t.Context(), "abcdefabcdef")
	Refused(t, err, "inspect the container")
	if info := d.Probe(t.Context()); info.Usable || info.Problem == "" || info.Hint == "" {
		t.Errorf("%+v", info)
	}
	engine.Do(t, "start")
	if info := d.Probe(t.Context()); !info.Usable {
		t.Errorf("not found again: %+v", info)
	}
}

// WrongImages pulls images that are not to be had.
func WrongImages(t *testing.T, d drivers.Puller, images ...string) {
	for _, image := range images {
		Refused(t, d.Pull(t.Context(), drivers.PullRequest{Image: image}, nil), "fetch image "+image)
	}
}
