package sandbox

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
)

// TestAllIsRecorded: every field of the API's request gets into the record, and from there
// into the driver's Spec. So a sandbox can be made anew as it was.
func TestAllIsRecorded(t *testing.T) {
	q := api.CreateRequest{}
	fill(t, reflect.ValueOf(&q).Elem(), "request")
	q.Hypervisor, q.Process.Dir, q.At = "krun", "/w", "/at"
	q.Shares = []api.ShownShare{{Name: "s", Target: "/shared"}}
	q.Mounts = []api.Mount{{Source: "/s", Target: "/t", Writable: true, Volume: "v"}, {Target: "/t", Volume: "v"}}
	r := &state.Record{ID: "i", Name: "n", Share: "/state/shares/i", Door: true, Request: asRecorded(q)}
	complete(t, reflect.ValueOf(r.Request), "request")
	spec, err := specOf(r, &state.Home{Places: state.Places{ID: "g", State: "/state"}}, "/auth")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []any{spec.VM, spec.Process, spec.Mounts, spec.Writable} {
		complete(t, reflect.ValueOf(part), fmt.Sprintf("%T", part))
	}
	spec.Hidden = []string{"/h"} // the home's, which a test has none of
	spec.Dir = "/d"
	if spec.Auth, err = drivers.NewVolume("the share is none", spec.Auth.Source(), spec.Auth.Target()); err != nil {
		t.Fatal(err)
	}
	if spec.Door, err = drivers.NewVolume("the door is none", spec.Door.Source(), spec.Door.Target()); err != nil {
		t.Fatal(err)
	}
	for i, s := range spec.Shares {
		if spec.Shares[i].Mount, err = drivers.NewVolume("a share is none", s.Mount.Source(), s.Mount.Target()); err != nil {
			t.Fatal(err)
		}
	}
	complete(t, reflect.ValueOf(spec), "spec")
}

// fill gives every field in v a different value.
func fill(t *testing.T, v reflect.Value, name string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(name)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(len(name)))
	case reflect.Uint16, reflect.Uint32:
		v.SetUint(uint64(len(name)))
	case reflect.Float64:
		v.SetFloat(float64(len(name)))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), name)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0), name)
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{name: name}))
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), name+"."+v.Type().Field(i).Name)
		}
	default:
		t.Fatalf("the test has no value for %s", name)
	}
}

// complete expects that nothing in v is zero.
func complete(t *testing.T, v reflect.Value, name string) {
	switch {
	case v.IsZero():
		t.Errorf("%s is not recorded", name)
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			complete(t, v.Field(i), name+"."+v.Type().Field(i).Name)
		}
	case v.Kind() == reflect.Slice:
		complete(t, v.Index(0), name)
	}
}

// fullSpec is a spec with a value in every field that a request can ask for.
func fullSpec(t *testing.T) drivers.Spec {
	t.Helper()
	mount, err := drivers.NewMount("/srv/data", "/data")
	kept, err2 := drivers.NewVolume("kept", "/state/volumes/kept/data", "/kept")
	writable, err3 := drivers.NewWritable("/srv/work", "/work", "")
	volume, err4 := drivers.NewWritable("/state/volumes/vol/data", "/vol", "vol")
	door, err5 := drivers.NewMount("/state/doors/abcdefghijkl", drivers.DoorDir)
	at, err6 := drivers.NewMount("/auth", "/home/agent/.ssh")
	shared, err7 := drivers.NewMount("/state/named/team/auth", "/etc/openshell/shares/team")
	if err := errors.Join(err, err2, err3, err4, err5, err6, err7); err != nil {
		t.Fatal(err)
	}
	return drivers.Spec{
		Auth: at, Shares: []drivers.Share{{Name: "team", Mount: shared}},
		Door: door, Mounts: []drivers.Mount{mount, kept}, Writable: []drivers.Writable{writable, volume},
		VM: drivers.VM{Rootfs: "/srv/root", Ephemeral: true, Disk: 1 << 31, TokenUser: "agent", RequireJail: true, Inotify: true, Hypervisor: "qemu",
			AllowHost: []uint16{80}, AllowEgress: []string{"example.com"}},
		Image: "alpine", Entrypoint: "/bin/entry", Network: drivers.NetworkUser, Ports: []drivers.Port{{Host: 1, Guest: 2}},
		Labels: map[string]string{"a": "b"}, Restart: drivers.RestartPolicy{Name: "always"},
		Tokens: api.Tokens{Identity: "ci", Files: []api.TokenFile{{Audience: "https://example.com", File: "example.jwt"}}},
		Process: drivers.Process{Args: []string{"sleep", "9"}, Env: []string{"A=b"}, Dir: "/tmp", User: "nobody", Terminal: true,
			Size: drivers.Size{Rows: 24, Cols: 80}},
		Stdin: true, AutoRemove: true, CPUs: 1.5, Memory: 1 << 30,
	}
}

// TestAdoptRemembers: every field of the Spec that an engine keeps gets into the record of an
// adopted sandbox. So it is shown, attached to, removed and made anew as before.
func TestAdoptRemembers(t *testing.T) {
	asked := fullSpec(t)
	r := &state.Record{ID: "abcdefghijkl", Share: "/state/shares/abcdefghijkl"}
	home := &state.Home{Places: state.Places{State: "/state"}}
	foreign := asked
	for _, source := range []string{"/state/keys", "/state/named/other/auth", "/state/shares/abcdefghijkl/auth"} {
		mount, err := drivers.NewMount(source, "/etc/openshell/shares/x"+filepath.Base(source))
		if err != nil {
			t.Fatal(err)
		}
		foreign.Shares = append(foreign.Shares, drivers.Share{Name: "x", Mount: mount}, drivers.Share{Name: "../../keys", Mount: mount})
	}
	remember(r, home, foreign) // what else it says to be a share is not believed
	got, err := specOf(r, home, "/auth")
	if err != nil {
		t.Fatal(err)
	}
	// These are of the record itself.
	elsewhere := map[string]bool{"ID": true, "Name": true, "GatewayID": true, "Dir": true, "Hidden": true}
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
	for _, part := range []any{asked.Process, asked.VM} {
		for v, i := reflect.ValueOf(part), 0; i < v.NumField(); i++ {
			if v.Field(i).IsZero() {
				t.Errorf("the test has no value for %s of the %T", v.Type().Field(i).Name, part)
			}
		}
	}
}

// TestDoorFits: no mount is in the place of the socket's directory, in it or around it. Such a
// sandbox is made, as by an older gateway, and says why it can't ask.
func TestDoorFits(t *testing.T) {
	for target, fits := range map[string]bool{"/run": false, "/run/openshell": false, "/run/openshell/x": false, "/run/other": true, "/runs": true, "/data": true} {
		if got := fitsDoor([]api.Mount{{Target: "/a"}, {Target: target}}); got != fits {
			t.Errorf("%s: %v", target, got)
		}
	}
}
