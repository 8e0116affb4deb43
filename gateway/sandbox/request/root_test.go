package request

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
)

// TestCommandOfTheRoot: a command that the root surely does not have is refused before a
// boot. In all other cases there is no error.
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
		{drivers.Spec{VM: drivers.VM{Rootfs: root}, Process: drivers.Process{Args: []string{"alpine", "sh"}, Env: onlyBin}}, "--image alpine sh"},
		{drivers.Spec{VM: drivers.VM{Rootfs: root}, Process: drivers.Process{Args: []string{"ubuntu:24.04"}, Env: onlyBin}}, "--image ubuntu:24.04"},
		{drivers.Spec{VM: drivers.VM{Rootfs: root}, Process: drivers.Process{Args: []string{"docker.io/library/alpine:3"}}}, "--image docker.io/library/alpine:3"},
		{drivers.Spec{VM: drivers.VM{Rootfs: root}, Process: drivers.Process{Args: []string{"localhost:5000/x"}}}, "--image localhost:5000/x"},
		{drivers.Spec{VM: drivers.VM{Rootfs: root}, Process: drivers.Process{Args: []string{"Agent"}, Env: onlyBin}}, "give a program"},
		{drivers.Spec{VM: drivers.VM{Rootfs: root}, Process: drivers.Process{Args: []string{"agent"}, Env: onlyBin}}, "--image agent"},
		{drivers.Spec{VM: drivers.VM{Rootfs: root}, Process: drivers.Process{Args: []string{"sh"}, Env: onlyBin}}, ""},
		{drivers.Spec{VM: drivers.VM{Rootfs: root}, Process: drivers.Process{Args: []string{"abs"}, Env: onlyBin}}, ""},
		{drivers.Spec{VM: drivers.VM{Rootfs: root}, Process: drivers.Process{Args: []string{"agent"}, Env: []string{"PATH=/opt/tools"}}}, ""},
		{drivers.Spec{VM: drivers.VM{Rootfs: root}, Process: drivers.Process{Args: []string{"agent"}, Dir: "/opt", Env: []string{"PATH=tools"}}}, ""},
		{drivers.Spec{VM: drivers.VM{Rootfs: root}, Process: drivers.Process{Args: []string{"run.sh"}, Dir: "/work", Env: []string{"PATH=:/bin"}}}, ""},
		{drivers.Spec{VM: drivers.VM{Rootfs: root}, Process: drivers.Process{Args: []string{"alpine"}}}, ""}, // sbin leads out: not sure
		{drivers.Spec{VM: drivers.VM{Rootfs: root}, Process: drivers.Process{Args: []string{"alpine"}, Env: onlyBin}, Mounts: []drivers.Mount{mount}}, ""},
		{drivers.Spec{VM: drivers.VM{Rootfs: root}, Process: drivers.Process{Args: []string{"/no/such"}}}, ""},
		{drivers.Spec{VM: drivers.VM{Rootfs: root}, Process: drivers.Process{Args: []string{"./run"}}}, ""},
		{drivers.Spec{VM: drivers.VM{Rootfs: root}}, ""},
		{drivers.Spec{Process: drivers.Process{Args: []string{"alpine", "sh"}}}, "--image alpine sh"},
		{drivers.Spec{Process: drivers.Process{Args: []string{"sh"}}}, ""},
		{drivers.Spec{Process: drivers.Process{Args: []string{"alpine"}}, Mounts: []drivers.Mount{mount}}, ""},
		{drivers.Spec{VM: drivers.VM{Rootfs: "/nonexistent"}, Process: drivers.Process{Args: []string{"alpine"}}}, ""},
	} {
		err := CheckRoot(t.Context(), stocked{}, c.spec, false)
		var answer *api.Error
		switch errors.As(err, &answer); {
		case c.hint == "" && err != nil:
			t.Errorf("%v: %v", c.spec.Process, err)
		case c.hint != "" && (answer == nil || answer.Code != api.CodeNoCommand || !strings.Contains(answer.Hint, c.hint)):
			t.Errorf("%v: %v, %+v", c.spec.Process, err, answer)
		}
	}
}

// TestUserAndDirectoryOfTheRoot: the same for the user and the working directory.
func TestUserAndDirectoryOfTheRoot(t *testing.T) {
	root, bare := t.TempDir(), t.TempDir()
	for _, dir := range []string{"etc", "work"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for file, text := range map[string]string{"etc/passwd": "root:x:0:0::/root:/bin/sh\nagent:x:7:7::/:/bin/sh\n", "etc/group": "root:x:0:\nstaff:x:50:\n"} {
		if err := os.WriteFile(filepath.Join(root, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/nowhere", filepath.Join(root, "leads-out")); err != nil {
		t.Fatal(err)
	}
	mount := func(target string) []drivers.Mount {
		m, err := drivers.NewMount(root, target)
		if err != nil {
			t.Fatal(err)
		}
		return []drivers.Mount{m}
	}
	writable := func(target string) []drivers.Writable {
		w, err := drivers.NewWritable(root, target, "")
		if err != nil {
			t.Fatal(err)
		}
		return []drivers.Writable{w}
	}
	as := func(user string) drivers.Process { return drivers.Process{User: user} }
	in := func(dir string) drivers.Process { return drivers.Process{Dir: dir} }
	for name, c := range map[string]struct {
		spec drivers.Spec
		code string // "" for nothing to say
		says string
	}{
		"a user":            {drivers.Spec{VM: drivers.VM{Rootfs: root}, Process: as("agent:staff")}, "", ""},
		"a number":          {drivers.Spec{VM: drivers.VM{Rootfs: root}, Process: as("4711:4712")}, "", ""},
		"no such user":      {drivers.Spec{VM: drivers.VM{Rootfs: root}, Process: as("nosuch")}, api.CodeInvalid, `user "nosuch": unable to find user nosuch`},
		"no such group":     {drivers.Spec{VM: drivers.VM{Rootfs: root}, Process: as("agent:nosuch")}, api.CodeInvalid, "unable to find group nosuch"},
		"no such owner":     {drivers.Spec{VM: drivers.VM{Rootfs: root, TokenUser: "nosuch"}}, api.CodeInvalid, "unable to find user nosuch"},
		"a mounted passwd":  {drivers.Spec{VM: drivers.VM{Rootfs: root}, Process: as("nosuch"), Mounts: mount("/etc")}, "", ""},
		"no passwd":         {drivers.Spec{VM: drivers.VM{Rootfs: bare}, Process: as("nosuch")}, "", ""},
		"the default's":     {drivers.Spec{Process: as("agent")}, "", ""},
		"not the default's": {drivers.Spec{Process: as("nosuch")}, api.CodeInvalid, "unable to find user nosuch"},
		"its directory":     {drivers.Spec{Process: in("/bin")}, "", ""},
		"its root":          {drivers.Spec{Process: in("/")}, "", ""},
		"not its directory": {drivers.Spec{Process: in("/work")}, api.CodeNotExecutable, "working directory /work: no such directory"},
		"a directory":       {drivers.Spec{VM: drivers.VM{Rootfs: root}, Process: in("/work/")}, "", ""},
		"no such directory": {drivers.Spec{VM: drivers.VM{Rootfs: root}, Process: in("/work/x")}, api.CodeNotExecutable, "working directory /work/x: no such directory"},
		"a mount's":         {drivers.Spec{VM: drivers.VM{Rootfs: root}, Process: in("/x/y"), Mounts: mount("/x")}, "", ""},
		"a writable one's":  {drivers.Spec{VM: drivers.VM{Rootfs: root}, Process: in("/x"), Writable: writable("/x")}, "", ""},
		"a program in it": {drivers.Spec{VM: drivers.VM{Rootfs: root}, Writable: writable("/x"),
			Process: drivers.Process{Args: []string{"./run"}, Dir: "/x"}}, "", ""},
		"above a mount": {drivers.Spec{VM: drivers.VM{Rootfs: root}, Process: in("/x"), Mounts: mount("/x/y")}, "", ""},
		"the kernel's":  {drivers.Spec{VM: drivers.VM{Rootfs: bare}, Process: in("/proc/1")}, "", ""},
		"the share's":   {drivers.Spec{VM: drivers.VM{Rootfs: bare}, Process: in("/etc/openshell")}, "", ""},
		"behind a link": {drivers.Spec{VM: drivers.VM{Rootfs: root}, Process: in("/leads-out/x")}, "", ""},
	} {
		err := CheckRoot(t.Context(), stocked{}, c.spec, true)
		var answer *api.Error
		switch errors.As(err, &answer); {
		case c.code == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.code != "" && (answer == nil || answer.Code != c.code || !strings.Contains(answer.Message, c.says) || answer.Hint == ""):
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := CheckRoot(t.Context(), nil, drivers.Spec{VM: drivers.VM{Rootfs: root}, Process: drivers.Process{Args: []string{"alpine"}}}, true); err == nil || strings.Contains(err.(*api.Error).Hint, "image") {
		t.Errorf("of a root that was named: %v", err)
	}
	for dir, ok := range map[string]bool{"": true, "/work": true, "work": false, "./work": false} {
		if err := CheckDir(dir); (err == nil) != ok {
			t.Errorf("working directory %q: %v", dir, err)
		}
	}
}

// stocked is a driver with a root of its own.
type stocked struct{ drivers.Driver }

func (stocked) Stock(context.Context) (map[string]string, error) {
	return map[string]string{"bin": "", "bin/sh": "", "etc/passwd": "agent:x:7:7::/:/bin/sh\n", "etc/group": "staff:x:50:\n"}, nil
}

// TestInAnImage: nothing is checked in an image.
func TestInAnImage(t *testing.T) {
	spec := drivers.Spec{Image: "alpine", Process: drivers.Process{Args: []string{"alpine"}, User: "nosuch", Dir: "/x"}}
	if err := CheckRoot(t.Context(), nil, spec, false); err != nil {
		t.Error(err)
	}
}
