package engines

import (
	"context"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
)

// probedDriver can be probed.
type probedDriver struct {
	drivers.Driver
	name   string
	broken bool
}

func (d *probedDriver) Name() string { return d.name }

func (d *probedDriver) Probe(context.Context) drivers.Info {
	if d.broken {
		return drivers.Info{Problem: "broken"}
	}
	return drivers.Info{Usable: true}
}

// pullingDriver takes images.
type pullingDriver struct{ probedDriver }

func (d *pullingDriver) Pull(context.Context, drivers.PullRequest, func(drivers.PullProgress)) error {
	return nil
}

// stockedDriver takes images, and has a root of its own.
type stockedDriver struct{ pullingDriver }

func (d *stockedDriver) Stock(context.Context) (map[string]string, error) { return nil, nil }

func TestChoose(t *testing.T) {
	vmEngine, podman := &stockedDriver{}, &pullingDriver{probedDriver: probedDriver{name: "podman"}}
	vmEngine.name = "vm"
	for _, c := range []struct {
		q      api.CreateRequest
		broken string
		want   string
	}{
		{api.CreateRequest{}, "", "vm"},
		{api.CreateRequest{}, "vm", "podman"},
		{api.CreateRequest{Image: "x"}, "", "vm"},
		{api.CreateRequest{Image: "x"}, "vm", "podman"},
		{api.CreateRequest{Rootfs: "/x"}, "vm", "refused: no driver can be used here; vm: broken"},
		{api.CreateRequest{Hypervisor: "krun"}, "vm", "refused: no driver can be used here; vm: broken"},
		{api.CreateRequest{RequireJail: true}, "vm", "refused: no driver can be used here; vm: broken"},
		{api.CreateRequest{RequireJail: true, Image: "x"}, "", "vm"},
		{api.CreateRequest{RequireJail: true, Image: "x"}, "vm", "refused: no driver can be used here; vm: broken"},
		{api.CreateRequest{Driver: "podman"}, "", "podman"},
		{api.CreateRequest{Driver: "auto"}, "", "vm"},
	} {
		e := New([]drivers.Driver{vmEngine, podman}, nil)
		for _, d := range []*probedDriver{&vmEngine.probedDriver, &podman.probedDriver} {
			d.broken = d.name == c.broken
		}
		got := ""
		if d, err := e.Choose(t.Context(), c.q); err != nil {
			got = "refused: " + err.Error()
		} else {
			got = d.Name()
		}
		if got != c.want {
			t.Errorf("%+v with %q broken: %s, wanted %s", c.q, c.broken, got, c.want)
		}
	}
}
