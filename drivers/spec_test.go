package drivers

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"openshell-vm/internal/vocab"
)

// The directories in testdata are named for the commit whose drivers wrote what is in
// them: a container's label, and the vm.json of a VM.

// full has a value in each field of a Spec.
func full(t *testing.T) Spec {
	t.Helper()
	s := Spec{
		ID: "abcdefghijkl", Name: "agent", GatewayID: "test", Dir: "/state/sandboxes/abcdefghijkl",
		Hidden: []string{"/state", "/run/openshell-vm/test"}, Stdin: true, AutoRemove: true, CPUs: 1.5, Memory: 64 << 20,
		Process: Process{Args: []string{"-c", "true"}, Env: []string{"A=b"}, Dir: "/w", User: "u:g", Terminal: true, Size: Size{Rows: 24, Cols: 80}},
		VM: VM{Hypervisor: "qemu", Rootfs: "/srv/debian", Ephemeral: true, Disk: 4 << 30, TokenUser: "jo", RequireJail: true, Inotify: true,
			AllowHost: []uint16{11434}, AllowEgress: []string{"*.example.com:443"}},
		Image:      "debian:12",
		Entrypoint: "/bin/sh",
		Network:    NetworkUser,
		Ports:      []Port{{HostIP: "127.0.0.1", Host: 8080, Guest: 80, Protocol: "udp"}},
		Labels:     map[string]string{"team": "a"}, Restart: RestartPolicy{Name: "on-failure", Max: 3},
	}
	var errs [2]error
	s.Door = Mount{source: "/state/doors/abcdefghijkl", target: DoorDir}
	var data Mount
	s.Tokens = vocab.Tokens{Mode: StaticToken, Static: "/home/u/token", Identity: "ci", Files: []vocab.TokenFile{{Audience: "https://example.com", File: "example.jwt", TTL: time.Minute,
		Algorithm: "RS256", NoID: true, Preset: "aws", Parameter: "role"}}, Audiences: []string{"other"}, Claims: map[string]string{"team": "a"}}
	s.Auth, errs[0] = NewMount("/state/shares/abcdefghijkl/auth", AuthDir)
	data, errs[1] = NewVolume("cache", "/home/u/data", "/data")
	s.Mounts = []Mount{data}
	s.Shares = []Share{{"team", Mount{source: "/state/named/team/auth", target: "/etc/openshell/shares/team"}}}
	w, err := NewWritable("/home/u/work", "/work", "vol")
	if err != nil {
		t.Fatal(err)
	}
	s.Writable = []Writable{w}
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	whole(t, reflect.ValueOf(s), "Spec")
	return s
}

// whole reports fields without a value as errors.
func whole(t *testing.T, v reflect.Value, name string) {
	t.Helper()
	if name == "Spec.Auth.volume" || name == "Spec.Door.volume" { // the share is none
		return
	}
	if v.IsZero() {
		t.Errorf("%s has no value", name)
	}
	if v.Kind() == reflect.Struct {
		for i := range v.NumField() {
			whole(t, v.Field(i), name+"."+v.Type().Field(i).Name)
		}
	}
}

// TestOlderSpecs: what older versions wrote is read as they meant it.
func TestOlderSpecs(t *testing.T) {
	container, vm := older(full(t)), older(full(t))
	container.VM, vm.VM.Inotify = VM{}, false
	vm.Image, vm.Entrypoint, vm.Process.Args, vm.CPUs, vm.Memory = "", "", []string{"sh", "-c", "true"}, 2, 512<<20
	for _, commit := range []string{"99b2efc", "8cd183b"} {
		if commit == "99b2efc" { // it had none of these
			container.AutoRemove, vm.AutoRemove, vm.VM.Disk = false, false, 0
		} else {
			container.AutoRemove, vm.AutoRemove, vm.VM.Disk = true, true, 4<<30
		}
		for file, want := range map[string]Spec{"label.json": container, "vm.json": vm} {
			var got Spec
			if err := json.Unmarshal(golden(t, commit+"/"+file), &got); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s of %s is read as\n%+v, %v, not\n%+v", file, commit, got, err, want)
			}
		}
	}
}

// older is s without what the commits in testdata did not have.
func older(s Spec) Spec {
	s.Writable, s.Network, s.Ports, s.Labels, s.Restart, s.Tokens = nil, "", nil, nil, RestartPolicy{}, vocab.Tokens{}
	s.Shares = nil
	s.VM.AllowHost, s.VM.AllowEgress, s.Door = nil, nil, Mount{}
	s.Mounts = []Mount{{source: "/home/u/data", target: "/data"}}
	return s
}

// TestSpecForm fixes the written form. If it changes, UnmarshalJSON must read both forms, and
// the older files must stay.
func TestSpecForm(t *testing.T) {
	now, err := json.MarshalIndent(full(t), "", "  ")
	if want := bytes.TrimSpace(golden(t, "spec.json")); err != nil || !bytes.Equal(now, want) {
		t.Errorf("it was\n%s\nand is\n%s%v", want, now, err)
	}
	var got Spec
	if err := json.Unmarshal(now, &got); err != nil || !reflect.DeepEqual(got, full(t)) {
		t.Errorf("read back as %+v, %v", got, err)
	}
	for _, name := range keys(t, now) {
		if strings.ToLower(name[:1]) != name[:1] {
			t.Errorf("%s begins with a capital", name)
		}
	}
}

// TestOlderVersionsRead: after a downgrade the older gateway still reads the Specs. The type
// is that of commit 99b2efc.
func TestOlderVersionsRead(t *testing.T) {
	var older struct {
		ID, Name, GatewayID, Dir string
		Auth                     Mount
		Mounts                   []Mount
		Hidden                   []string
		Rootfs, Image            string
		Ephemeral                bool
		Process                  struct {
			Process
			Entrypoint []string
		}
		Stdin       bool
		CPUs        float64
		Memory      int64
		TokenUser   string
		RequireJail bool
		Hypervisor  string
	}
	if err := json.Unmarshal(golden(t, "spec.json"), &older); err != nil {
		t.Fatal(err)
	}
	whole(t, reflect.ValueOf(older), "Spec")
}

func golden(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func keys(t *testing.T, data []byte) (names []string) {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		t.Fatal(err)
	}
	for name := range fields {
		names = append(names, name)
	}
	return names
}
