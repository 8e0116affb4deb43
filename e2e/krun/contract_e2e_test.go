//go:build e2e

package krun_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm"
	"openshell-vm/drivers/vm/images/imagetest"
	"openshell-vm/drivers/vm/network"
)

// TestUpToStart runs driver, monitor, jail and openshell-krun with a library that only records
// its calls. More can't be tested without a libkrun.
func TestUpToStart(t *testing.T) {
	if inside {
		t.Skip("it needs no outer machine")
	}
	program(t, "openshell-krun")
	dir, err := os.MkdirTemp("", "krun")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	driver := vm.New(vm.Config{
		GatewayID: "0123456789ab", SandboxesDir: filepath.Join(dir, "sandboxes"), RuntimeDir: filepath.Join(dir, "run"),
		CacheDir: filepath.Join(dir, "cache"), Libexec: programDir(t),
		KVM: os.DevNull, // a library that only records opens none
		Hypervisors: withLibkrun(contract(t, dir, "libkrun.so.1", "-DVERSION=11900"),
			contract(t, dir, "libkrunfw.so.5", "-DFIRMWARE", "-Wl,-soname,libkrunfw.so.5")),
	})
	spec := contractSpec(t, dir)
	spec.Network = drivers.NetworkUser
	spec.VM.Rootfs, spec.Image = "", imagetest.Serve(t, nil).Push(imagetest.Image(t, v1.Config{}, imagetest.NewLayer(t).File("a", "")), "suite/a:1")
	if err := driver.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { driver.Remove(context.Background(), spec.ID) })

	err = driver.Start(t.Context(), spec.ID)
	if err == nil || !strings.Contains(err.Error(), "krun") {
		t.Errorf("a VM that ended before its guest said anything: %v", err)
	}
	got := recorded(t, filepath.Join(spec.Dir, "tools.log"))
	want := []string{
		`krun_init_log -1 2 2 1`,
		`krun_create_ctx`,
		`krun_set_vm_config 7 2 384`,
		`krun_add_virtiofs3 7 "/dev/root" "/vm/root" 0 true`,
		`krun_disable_implicit_vsock 7`,
		`krun_disable_implicit_console 7`,
		`krun_add_virtio_console_multiport 7`,
		`krun_add_console_port_tty 7 0 "console" 4`,
		`krun_add_console_port_inout 7 0 "stdio" 5 5`,
		`krun_add_console_port_inout 7 0 "control" 6 6`,
		`krun_add_disk2 7 "upper" "/vm/upper.ext4" 0 false`,
		`krun_add_disk2 7 "image" "/vm/image.erofs" 0 true`,
		`krun_add_net_unixstream 7 NULL 7 ` + network.MAC(spec.ID).String() + ` 0 0`,
		`krun_set_exec 7 "/openshell-init" [] ["KRUN_INIT_PID1=1"]`,
		`krun_start_enter 7`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("C saw\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if !t.Failed() {
		covered = append(covered, fmt.Sprintf("with a library that records: driver, monitor, jail and openshell-krun, %d calls up to krun_start_enter", len(got)))
	}
}

// TestRefusedLibraries gives the driver libraries that it can't use.
func TestRefusedLibraries(t *testing.T) {
	if inside {
		t.Skip("it needs no outer machine")
	}
	program(t, "openshell-krun")
	dir := t.TempDir()
	firmware := contract(t, dir, "libkrunfw.so.5", "-DFIRMWARE", "-Wl,-soname,libkrunfw.so.5")
	install, pin := "install libkrun 1.18.0 or a later 1.x", "use --hypervisor qemu, or keep a libkrun 1.x"
	for _, test := range []struct{ name, library, want, hint string }{
		{"too old", contract(t, dir, "libkrun-1.17.so", "-DVERSION=11700"), "lacks krun_add_virtiofs3: 1.18.0 or a later 1.x is needed", install},
		{"newer by its name", contract(t, dir, "libkrun.so.2", "-DVERSION=20000", "-Wl,-soname,libkrun.so.2"), "newer than known: " + filepath.Join(dir, "libkrun.so.2"), pin},
		{"newer by what it lacks", contract(t, dir, "libkrun-2.so", "-DVERSION=20000", "-Wl,-soname,libkrun.so.1"),
			"krun_disable_implicit_vsock: this libkrun is newer than known, libkrun 2.0.0 dropped it", pin},
		{"without disks", contract(t, dir, "libkrun-diskless.so", "-DVERSION=11900", "-Dkrun_add_disk2=left_out"), "was built without disks", install},
		{"missing", "/nonexistent/libkrun.so.1", "/nonexistent/libkrun.so.1", install},
		{"not a library", os.Args[0], "executable", install},
	} {
		t.Run(test.name, func(t *testing.T) {
			driver := vm.New(vm.Config{
				GatewayID: "0123456789ab", SandboxesDir: filepath.Join(dir, "sandboxes"), RuntimeDir: filepath.Join(dir, "run"),
				CacheDir: t.TempDir(), Libexec: programDir(t), Hypervisors: withLibkrun(test.library, firmware),
			})
			spec := contractSpec(t, t.TempDir())
			spec.Dir = filepath.Join(dir, "sandboxes", spec.ID)
			if err := driver.Create(t.Context(), spec); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { driver.Remove(context.Background(), spec.ID) })
			err := driver.Start(t.Context(), spec.ID)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(drivers.HintOf(err), test.hint) {
				t.Errorf("%v (%s)", err, drivers.HintOf(err))
			}
		})
	}
}

// contract builds a library from package krun's test data.
func contract(t *testing.T, dir, name string, flags ...string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	args := append([]string{"-Wno-format-zero-length", "-shared", "-fPIC", "-o", path}, flags...)
	if out, err := exec.Command("cc", append(args, "../../krun/testdata/contract.c")...).CombinedOutput(); err != nil {
		t.Fatalf("build the contract library: %v\n%s", err, out)
	}
	return path
}

func contractSpec(t *testing.T, dir string) drivers.Spec {
	t.Helper()
	id := "e2e000000001"
	spec := drivers.Spec{
		ID: id, Name: "contract", GatewayID: "0123456789ab", Dir: filepath.Join(dir, "sandboxes", id),
		VM: drivers.VM{Rootfs: filepath.Join(dir, "rootfs"), Hypervisor: "krun"}, CPUs: 2, Memory: 384 << 20,
		Process: drivers.Process{Args: []string{"/bin/true"}},
	}
	auth := filepath.Join(dir, "auth")
	for _, d := range []string{spec.Dir, spec.VM.Rootfs, auth} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if spec.Auth, err = drivers.NewMount(auth, drivers.AuthDir); err != nil {
		t.Fatal(err)
	}
	return spec
}

// recorded returns the library's calls from the hypervisor's output.
func recorded(t *testing.T, log string) []string {
	t.Helper()
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	var calls []string
	for line := range strings.Lines(string(data)) {
		if call, ok := strings.CutPrefix(line, "krun: krun_"); ok {
			calls = append(calls, "krun_"+strings.TrimSpace(call))
		} else {
			t.Logf("%s", line)
		}
	}
	return calls
}
