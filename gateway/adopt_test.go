package gateway

import (
	"os"
	"reflect"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
)

// fullSpec is a spec with a value in every field that a request can ask for.
func fullSpec(t *testing.T) drivers.Spec {
	t.Helper()
	mount, err := drivers.NewMount("/srv/data", "/data")
	if err != nil {
		t.Fatal(err)
	}
	return drivers.Spec{
		Mounts: []drivers.Mount{mount}, VM: drivers.VM{Rootfs: "/srv/root", Ephemeral: true, Disk: 1 << 31, TokenUser: "agent", RequireJail: true, Hypervisor: "qemu"},
		Container: drivers.Container{Image: "alpine", Entrypoint: "/bin/entry"},
		Process: drivers.Process{Args: []string{"sleep", "9"}, Env: []string{"A=b"}, Dir: "/tmp", User: "nobody", Terminal: true,
			Size: drivers.Size{Rows: 24, Cols: 80}},
		Stdin: true, AutoRemove: true, CPUs: 1.5, Memory: 1 << 30,
	}
}

// TestAdoptRemembers: what a sandbox was made with comes back from its engine in
// whole, so that it is shown, attached to, removed and made anew as it was.
func TestAdoptRemembers(t *testing.T) {
	asked := fullSpec(t)
	r := &state.Record{}
	remember(r, asked)
	got, err := specOf(r, &state.Home{}, "/auth")
	if err != nil {
		t.Fatal(err)
	}
	// These are of the record itself.
	elsewhere := map[string]bool{"ID": true, "Name": true, "GatewayID": true, "Dir": true, "Auth": true, "Hidden": true}
	a, b := reflect.ValueOf(asked), reflect.ValueOf(got)
	for i := range a.NumField() {
		name := a.Type().Field(i).Name
		if elsewhere[name] {
			continue
		}
		if a.Field(i).IsZero() {
			t.Errorf("the test has no value for %s", name)
		}
		if !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			t.Errorf("%s was %+v, and comes back as %+v", name, a.Field(i), b.Field(i))
		}
	}
	for _, part := range []any{asked.Process, asked.VM, asked.Container} {
		for v, i := reflect.ValueOf(part), 0; i < v.NumField(); i++ {
			if v.Field(i).IsZero() {
				t.Errorf("the test has no value for %s of the %T", v.Type().Field(i).Name, part)
			}
		}
	}
}

// TestAdoptedIsShownInFull, by the API, and by the next gateway too.
func TestAdoptedIsShownInFull(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	w.run()
	made := w.create(api.CreateRequest{Name: "one", Image: "alpine", Stdin: true, CPUs: 1.5, Memory: 1 << 30,
		Process: api.Process{Args: []string{"sleep", "9"}, Terminal: true}})
	w.start("one")
	box := engine.get(made.ID)
	engine.mu.Lock()
	box.status.Spec = &box.spec
	engine.mu.Unlock()
	home := w.gateway.home
	w.stop()
	w.must(os.RemoveAll(home.Sandboxes()))
	for range 2 {
		g := w.run()
		v := w.get("one")
		if v.Image != "alpine" || len(v.Process.Args) != 2 || !v.Process.Terminal || v.CPUs != 1.5 || v.Memory != 1<<30 {
			t.Errorf("it is shown as %+v", v)
		}
		if !g.byID(made.ID).rec().Request.Stdin {
			t.Error("an attach would get no input")
		}
		w.stop()
	}
}
