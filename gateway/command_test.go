package gateway

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
)

// TestCommandOfTheRoot: what the root surely hasn't is told before a boot; of
// all else nothing is said.
func TestCommandOfTheRoot(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"usr/bin", "opt/tools", "work"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"bin": "usr/bin", "sbin": "/usr/sbin", "usr/bin/abs": "/nowhere/abs"} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"usr/bin/sh", "opt/tools/agent", "work/run.sh"} {
		if err := os.WriteFile(filepath.Join(root, file), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	onlyBin := []string{"PATH=/usr/bin:/bin"}
	mount, err := drivers.NewMount(root, "/usr/bin")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		spec drivers.Spec
		hint string // "" for nothing to say
	}{
		{drivers.Spec{Rootfs: root, Process: drivers.Process{Args: []string{"alpine", "sh"}, Env: onlyBin}}, "--image alpine sh"},
		{drivers.Spec{Rootfs: root, Process: drivers.Process{Args: []string{"ubuntu:24.04"}, Env: onlyBin}}, "--image ubuntu:24.04"},
		{drivers.Spec{Rootfs: root, Process: drivers.Process{Args: []string{"docker.io/library/alpine:3"}}}, "--image docker.io/library/alpine:3"},
		{drivers.Spec{Rootfs: root, Process: drivers.Process{Args: []string{"localhost:5000/x"}}}, "--image localhost:5000/x"},
		{drivers.Spec{Rootfs: root, Process: drivers.Process{Args: []string{"Agent"}, Env: onlyBin}}, "give a program"},
		{drivers.Spec{Rootfs: root, Process: drivers.Process{Args: []string{"agent"}, Env: onlyBin}}, "--image agent"},
		{drivers.Spec{Rootfs: root, Process: drivers.Process{Args: []string{"sh"}, Env: onlyBin}}, ""},
		{drivers.Spec{Rootfs: root, Process: drivers.Process{Args: []string{"abs"}, Env: onlyBin}}, ""},
		{drivers.Spec{Rootfs: root, Process: drivers.Process{Args: []string{"agent"}, Env: []string{"PATH=/opt/tools"}}}, ""},
		{drivers.Spec{Rootfs: root, Process: drivers.Process{Args: []string{"agent"}, Dir: "/opt", Env: []string{"PATH=tools"}}}, ""},
		{drivers.Spec{Rootfs: root, Process: drivers.Process{Args: []string{"run.sh"}, Dir: "/work", Env: []string{"PATH=:/bin"}}}, ""},
		{drivers.Spec{Rootfs: root, Process: drivers.Process{Args: []string{"alpine"}}}, ""}, // sbin leads out: not sure
		{drivers.Spec{Rootfs: root, Process: drivers.Process{Args: []string{"alpine"}, Env: onlyBin}, Mounts: []drivers.Mount{mount}}, ""},
		{drivers.Spec{Rootfs: root, Process: drivers.Process{Args: []string{"/no/such"}}}, ""},
		{drivers.Spec{Rootfs: root, Process: drivers.Process{Args: []string{"./run"}}}, ""},
		{drivers.Spec{Rootfs: root}, ""},
		{drivers.Spec{Image: "alpine", Process: drivers.Process{Args: []string{"alpine"}}}, ""},
		{drivers.Spec{Rootfs: "/nonexistent", Process: drivers.Process{Args: []string{"alpine"}}}, ""},
	} {
		err := checkCommand(c.spec)
		var answer *api.Error
		switch errors.As(err, &answer); {
		case c.hint == "" && err != nil:
			t.Errorf("%v: %v", c.spec.Process, err)
		case c.hint != "" && (answer == nil || answer.Code != api.CodeNoCommand || !strings.Contains(answer.Hint, c.hint)):
			t.Errorf("%v: %v, %+v", c.spec.Process, err, answer)
		}
	}
}
