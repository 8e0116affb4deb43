package vm

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/host"
	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/hypervisor/krun"
	"openshell-vm/drivers/vm/hypervisor/qemu"
	"openshell-vm/drivers/vm/initramfs"
	"openshell-vm/drivers/vm/monitor"
	"openshell-vm/drivers/vm/monitor/api"
	"openshell-vm/internal/atomicfile"
)

// patience bounds one wait for something to happen. It is generous: nothing here
// promises speed, and other tests keep the machine busy.
const patience = 2 * time.Minute

// emptyDriver makes a driver with directories and without programs.
func emptyDriver(t *testing.T) *Driver {
	dir := t.TempDir()
	return New(Config{
		SandboxesDir: filepath.Join(dir, "sandboxes"), RuntimeDir: filepath.Join(dir, "run"),
		CacheDir: filepath.Join(dir, "cache"), Libexec: filepath.Join(dir, "libexec"),
	})
}

// created makes a sandbox and does not start it.
func created(t *testing.T, d *Driver) drivers.Spec {
	t.Helper()
	spec := drivers.Spec{
		ID: "abc", Name: "a_name", Dir: d.dir("abc"), VM: drivers.VM{Rootfs: "/", Hypervisor: "qemu", Ephemeral: true},
		Auth: driverstest.Mounts(t, t.TempDir(), drivers.AuthDir)[0], Mounts: driverstest.Mounts(t, "/srv", "/data"),
	}
	if err := d.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestCreateKeepsTheSpec(t *testing.T) {
	d := emptyDriver(t)
	spec := created(t, d)
	got, err := d.sandbox(spec.ID).spec()
	if err != nil || got.Auth != spec.Auth || !slices.Equal(got.Mounts, spec.Mounts) || got.Name != spec.Name {
		t.Errorf("%+v, %v", got, err)
	}
	if err := d.Create(t.Context(), spec); !errors.Is(err, drivers.ErrExists) {
		t.Errorf("made twice: %v", err)
	}
	spec.ID, spec.Dir = "other", "/somewhere/else"
	if err := d.Create(t.Context(), spec); err == nil {
		t.Error("a directory that List would not find")
	}
}

func TestStatesWithoutAMonitor(t *testing.T) {
	d := emptyDriver(t)
	if all, err := d.List(t.Context()); len(all) != 0 || err != nil {
		t.Errorf("no directory at all: %v, %v", all, err)
	}
	spec := created(t, d)
	expect := func(want drivers.Status) {
		t.Helper()
		all, err := d.List(t.Context())
		if err != nil || len(all) != 1 {
			t.Fatalf("%v, %v", all, err)
		}
		got := all[0]
		if got.ID != "abc" || got.Name != "a_name" || got.State != want.State || got.ExitCode != want.ExitCode || !strings.Contains(got.Reason, want.Reason) {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	expect(drivers.Status{State: drivers.Created})
	cfg := monitor.Config{ID: "abc", Dir: spec.Dir}
	if err := cfg.Write(); err != nil {
		t.Fatal(err)
	}
	expect(drivers.Status{State: drivers.Dead, Reason: "its monitor ended without an exit status"})
	exit := monitor.Exit{State: drivers.Exited, ExitCode: 7}
	if err := atomicfile.WriteJSON(filepath.Join(spec.Dir, monitor.ExitFile), exit, atomicfile.Volatile); err != nil {
		t.Fatal(err)
	}
	expect(drivers.Status{State: drivers.Exited, ExitCode: 7})
	if s, err := d.Wait(t.Context(), "abc"); s.ExitCode != 7 || err != nil {
		t.Errorf("wait: %+v, %v", s, err)
	}
	if err := os.WriteFile(filepath.Join(spec.Dir, specFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := d.List(t.Context())
	if err != nil || len(all) != 1 || all[0].State != drivers.Dead || all[0].Reason == "" {
		t.Errorf("a spoilt spec: %+v, %v", all, err)
	}
}

func TestWhatIsNotThere(t *testing.T) {
	d := emptyDriver(t)
	ctx := t.Context()
	for name, err := range map[string]error{
		"inspect": second(d.Inspect(ctx, "none")), "start": d.Start(ctx, "none"), "stop": d.Stop(ctx, "none", 0),
		"signal": d.Signal(ctx, "none", 15), "wait": second(d.Wait(ctx, "none")), "logs": d.Logs(ctx, "none", false, nil, nil),
		"attach": second(d.Attach(ctx, "none", true, drivers.Streams{})), "path": d.Start(ctx, "../none"), "empty": d.Start(ctx, ""),
		"exec": second(d.Exec(ctx, "none", drivers.Process{}, drivers.Streams{})),
	} {
		if !errors.Is(err, drivers.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := d.Remove(ctx, "none"); err != nil {
		t.Errorf("remove: %v", err)
	}
	spec := created(t, d)
	for name, err := range map[string]error{
		"signal": d.Signal(ctx, spec.ID, 15), "exec": second(d.Exec(ctx, spec.ID, drivers.Process{}, drivers.Streams{})),
	} {
		if !errors.Is(err, drivers.ErrNotRunning) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := d.Stop(ctx, spec.ID, time.Second); err != nil {
		t.Errorf("stop what is stopped: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// Remove has to leave the gateway's own files, and no others.
func TestRemoveLeavesOnlyTheGatewaysFiles(t *testing.T) {
	d := emptyDriver(t)
	spec := created(t, d)
	for _, name := range []string{"sandbox.json", "stdio.log", "stdio.log.1", "console.log.2", "exit.json", "exit.json.new-1", "upper.ext4"} {
		if err := os.WriteFile(filepath.Join(spec.Dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(d.sandbox(spec.ID).runDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := d.Remove(t.Context(), spec.ID); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(spec.Dir)
	if err != nil || len(left) != 1 || left[0].Name() != "sandbox.json" {
		t.Errorf("%v, %v", left, err)
	}
	if _, err := os.Stat(d.sandbox(spec.ID).runDir); !os.IsNotExist(err) {
		t.Errorf("the socket's directory: %v", err)
	}
}

func TestAttachGetsTheOutcomeOfAFailedStart(t *testing.T) {
	d := emptyDriver(t)
	spec := created(t, d)
	attached := make(chan error, 1)
	go func() {
		_, err := d.Attach(t.Context(), spec.ID, false, drivers.Streams{})
		attached <- err
	}()
	waitFor(t, func() bool { return d.started.Waiting(spec.ID) == 1 })
	d.started.Tell(spec.ID, errors.New("no hypervisor"))
	if err := <-attached; err == nil || err.Error() != "no hypervisor" {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Attach(ctx, spec.ID, false, drivers.Streams{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if n := d.started.Waiting(spec.ID); n != 0 {
		t.Errorf("%d attachers that left are still waited for", n)
	}
}

// A workload ends before its client has connected. The client has to get the end and the reason,
// as if it had seen them.
func TestAttachGetsAnEndThatItMissed(t *testing.T) {
	d := emptyDriver(t)
	spec := created(t, d)
	exit := monitor.Exit{State: drivers.Exited, ExitCode: 127, Reason: "nosuch: not found"}
	if err := atomicfile.WriteJSON(filepath.Join(spec.Dir, monitor.ExitFile), exit, atomicfile.Volatile); err != nil {
		t.Fatal(err)
	}
	var problems bytes.Buffer
	ended := make(chan error, 1)
	go func() {
		code, err := d.Attach(t.Context(), spec.ID, false, drivers.Streams{Stderr: &problems})
		if code != 127 {
			t.Errorf("code %d", code)
		}
		ended <- err
	}()
	waitFor(t, func() bool { return d.started.Waiting(spec.ID) == 1 })
	d.started.Tell(spec.ID, nil)
	if err := <-ended; err != nil || problems.String() != "openshell-vm: nosuch: not found\n" {
		t.Errorf("%q, %v", problems.String(), err)
	}
}

func TestMissingProgramsAreNamed(t *testing.T) {
	d := emptyDriver(t)
	d.hypervisors.all = []hypervisor.Hypervisor{krun.New(krun.Options{}), qemu.New(qemu.Options{Binary: "/nowhere/qemu"})}
	_, _, err := d.Resolve(t.Context(), drivers.Spec{VM: drivers.VM{Hypervisor: "qemu"}})
	driverstest.Refused(t, err, "find QEMU: it is not installed")
	if !strings.Contains(drivers.HintOf(err), "apt install qemu-system-") {
		t.Error(drivers.HintOf(err))
	}
	_, _, err = d.Resolve(t.Context(), drivers.Spec{VM: drivers.VM{Hypervisor: "krun"}})
	driverstest.Refused(t, err, "use the krun hypervisor")
	_, _, err = d.Resolve(t.Context(), drivers.Spec{VM: drivers.VM{Hypervisor: "xen"}})
	driverstest.Refused(t, err, `there is none called "xen"`)
	_, _, err = d.Resolve(t.Context(), drivers.Spec{Image: "debian", VM: drivers.VM{Rootfs: "/srv"}})
	driverstest.Refused(t, err, "both a rootfs and an image")
	_, _, err = d.Resolve(t.Context(), drivers.Spec{Entrypoint: "/bin/sh"})
	driverstest.Refused(t, err, "a directory has none")
	if info := d.Probe(t.Context()); info.Usable || info.Problem == "" || info.Hint == "" {
		t.Errorf("%+v", info)
	}
}

func TestBootSpec(t *testing.T) {
	spec := drivers.Spec{
		ID: "abc", Name: "a_name", Auth: driverstest.Mounts(t, "/share", drivers.AuthDir)[0], Mounts: driverstest.Mounts(t, "/srv", "/data"),
		Process: drivers.Process{Args: []string{"sh"}, Env: []string{"PATH=/mine", "A=B"}}, VM: drivers.VM{TokenUser: "agent", Ephemeral: true}, Stdin: true,
	}
	traits := guest.Traits{LoneDisk: true}
	b := bootSpec(spec, traits)
	env := []string{
		"PATH=/mine", "A=B",
		"OPENSHELL_SANDBOX_TOKEN_FILE=/etc/openshell/auth/sandbox.jwt", "OPENSHELL_SANDBOX_AUTH_MODE=gateway-managed-file",
	}
	if !slices.Equal(b.Process.Env, env) {
		t.Errorf("%q", b.Process.Env)
	}
	spec.Tokens.Mode = drivers.StaticToken
	if static := bootSpec(spec, traits); !slices.Contains(static.Process.Env, "OPENSHELL_SANDBOX_AUTH_MODE=static-token") {
		t.Errorf("with a static token: %q", static.Process.Env)
	}
	if b.Traits == nil || *b.Traits != traits {
		t.Errorf("traits: %+v", b.Traits)
	}
	if b.Version != guest.Version || b.Hostname != "a-name" || b.AuthDir != drivers.AuthDir || b.TokenUser != "agent" ||
		!b.Ephemeral || !b.Stdin || len(b.Mounts) != 1 || b.Mounts[0] != (guest.GuestMount{Name: guest.MountName(0), Target: "/data"}) {
		t.Errorf("%+v", b)
	}
	if len(spec.Process.Env) != 2 {
		t.Error("the spec's own environment was changed")
	}
}

func TestTheErrorOfAHungBoot(t *testing.T) {
	cfg := monitor.Config{Dir: "/state/abc", Attempt: 2}
	err := startError(cfg, &api.Ready{Problem: "the guest did not boot within 1m0s", Hung: true, Console: "one\ntwo"})
	want := "start the VM: the guest did not boot within 1m0s, in 2 tries; the last lines of its console: one | two"
	if err.Error() != want || !strings.Contains(drivers.HintOf(err), "/state/abc/console.log") {
		t.Errorf("%v\n%s", err, drivers.HintOf(err))
	}
}

func TestEnvironment(t *testing.T) {
	vars := map[string]string{initramfs.KernelEnv: "/k", qemu.AccelEnv: "tcg", BootDeadlineEnv: "45s", host.RequireJailEnv: "1", qemu.VirtiofsdEnv: "/v"}
	get := func(k string) string { return vars[k] }
	c, err := Config{}.WithEnvironment(get)
	if err != nil || c.BootDeadline != 45*time.Second || !c.RequireJail {
		t.Errorf("%+v, %v", c, err)
	}
	q, ok := c.Hypervisors[len(c.Hypervisors)-1].(*qemu.Hypervisor)
	if want := (qemu.Options{Kernel: "/k", Virtiofsd: "/v", Accel: qemu.TCG}); !ok || q.Options != want {
		t.Errorf("%+v", c.Hypervisors)
	}
	for name, bad := range map[string]string{qemu.AccelEnv: "hvf", BootDeadlineEnv: "soon"} {
		vars = map[string]string{name: bad}
		_, err := Config{}.WithEnvironment(get)
		driverstest.Refused(t, err, "read "+name)
	}
}

func waitFor(t *testing.T, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatal("it did not come in time")
		}
		time.Sleep(time.Millisecond)
	}
}

// TestOwnRoot checks that the default root lies among the sandbox's own files, also for a sandbox
// that an older version made.
func TestOwnRoot(t *testing.T) {
	d := emptyDriver(t)
	d.host.BusyBox = "/nowhere/busybox"
	spec := drivers.Spec{ID: "abc", VM: drivers.VM{Rootfs: filepath.Join(d.cfg.CacheDir, "userland/busybox-1-5-6")}, Hidden: []string{d.cfg.SandboxesDir}}
	cfg := monitor.Config{Dir: filepath.Join(d.cfg.SandboxesDir, "abc")}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := d.shareRoot(t.Context(), spec, &cfg)
	driverstest.Refused(t, err, "make the default root: no busybox is installed")
	if cfg.Rootfs.Source != filepath.Join(cfg.Dir, rootDir) {
		t.Errorf("its root is %s", cfg.Rootfs.Source)
	}
}
