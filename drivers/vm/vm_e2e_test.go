//go:build e2e

package vm

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest"
	"openshell-vm/drivers/driverstest/capture"
	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/hypervisor/krun"
	"openshell-vm/drivers/vm/hypervisor/qemu"
	"openshell-vm/drivers/vm/initramfs"
	"openshell-vm/drivers/vm/monitor"
	"openshell-vm/drivers/vm/monitor/api"
	"openshell-vm/drivers/vm/network"
)

// programs builds what a VM needs, once for all tests.
func programs(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("OPENSHELL_BIN")
	if dir != "" {
		return dir
	}
	dir = t.TempDir()
	for _, p := range []string{"openshell-vmm", "openshell-init", "openshell-image", network.Program} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, p), "openshell-vm/cmd/"+p)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", p, err, out)
		}
	}
	return dir
}

// chosen returns the hypervisors with the test's options. The environment gives the
// options that the test leaves out.
func chosen(k krun.Options, q qemu.Options) []hypervisor.Hypervisor {
	q.Kernel, q.Virtiofsd = cmp.Or(q.Kernel, os.Getenv(initramfs.KernelEnv)), cmp.Or(q.Virtiofsd, os.Getenv(qemu.VirtiofsdEnv))
	return []hypervisor.Hypervisor{krun.New(k), qemu.New(q)}
}

// places counts the calls of place.
var places atomic.Int64

// place returns a driver with its own directories, and a sandbox's spec.
func place(t *testing.T) (*Driver, drivers.Spec) {
	t.Helper()
	base, err := os.MkdirTemp("", "vm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	d := New(Config{
		GatewayID: "test", SandboxesDir: filepath.Join(base, "sandboxes"), RuntimeDir: filepath.Join(base, "run"),
		CacheDir: filepath.Join(os.TempDir(), "openshell-vm-test-cache"), Libexec: programs(t),
		Hypervisors: chosen(krun.Options{}, qemu.Options{}), BootDeadline: patience,
	})
	auth := filepath.Join(base, "auth")
	gen := filepath.Join(auth, "..gen-00000001")
	for _, err := range []error{
		os.MkdirAll(gen, 0o755),
		os.WriteFile(filepath.Join(gen, "sandbox.jwt"), []byte("a token"), 0o444),
		os.Symlink("..gen-00000001", filepath.Join(auth, "..data")),
		os.Symlink("..data/sandbox.jwt", filepath.Join(auth, "sandbox.jwt")),
		os.WriteFile(filepath.Join(auth, "..is-00000001"), nil, 0o444),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	mount, err := drivers.NewMount(auth, drivers.AuthDir)
	if err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprintf("e2e%09d", places.Add(1)) // cgroups have its name
	return d, drivers.Spec{
		ID: id, Name: "e2e", GatewayID: "test", Dir: filepath.Join(base, "sandboxes", id), Auth: mount, Stdin: true,
	}
}

func TestLifeOfAVM(t *testing.T) {
	t.Parallel()
	d, spec := place(t)
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	spec.Process.Args = []string{"/bin/sh", "-c",
		"cat $OPENSHELL_SANDBOX_TOKEN_FILE; echo; echo oops >&2; touch /marker; read line; echo got $line; sleep 1000"}
	spec, _, err := d.Resolve(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Create(ctx, spec); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Remove(context.Background(), spec.ID) })
	expectState(t, d, spec.ID, drivers.Created)

	begun := time.Now()
	if err := d.Start(ctx, spec.ID); err != nil {
		t.Fatal(err, drivers.HintOf(err))
	}
	t.Logf("started in %v", time.Since(begun))
	expectState(t, d, spec.ID, drivers.Running)

	attached, stop := context.WithCancel(ctx)
	var out capture.Buffer
	go d.Attach(attached, spec.ID, true, drivers.Streams{Stdin: strings.NewReader("hello\n"), Stdout: &out})
	await(t, &out, "a token\ngot hello\n")
	stop()

	var stdout bytes.Buffer
	p := drivers.Process{Args: []string{"sh", "-c", "cat; exit 7"}}
	code, err := d.Exec(ctx, spec.ID, p, drivers.Streams{Stdin: strings.NewReader("through\n"), Stdout: &stdout})
	if code != 7 || err != nil || stdout.String() != "through\n" {
		t.Errorf("exec: %d, %v, %q", code, err, stdout.String())
	}

	begun = time.Now()
	if err := d.Stop(ctx, spec.ID, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	t.Logf("stopped in %v", time.Since(begun))
	if s := expectState(t, d, spec.ID, drivers.Exited); s.ExitCode != 128+15 {
		t.Errorf("exit code %d after SIGTERM", s.ExitCode)
	}
	var logOut, logErr bytes.Buffer
	if err := d.Logs(ctx, spec.ID, false, &logOut, &logErr); err != nil {
		t.Error(err)
	}
	if logOut.String() != "a token\ngot hello\n" || logErr.String() != "oops\n" {
		t.Errorf("logs: %q and %q", logOut.String(), logErr.String())
	}

	if err := d.Start(ctx, spec.ID); err != nil {
		t.Fatal(err)
	}
	code, err = d.Exec(ctx, spec.ID, drivers.Process{Args: []string{"test", "-e", "/marker"}}, drivers.Streams{})
	if code != 0 || err != nil {
		t.Errorf("the disk did not outlive the stop: %d, %v", code, err)
	}
	if err := d.Remove(ctx, spec.ID); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(spec.Dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func expectState(t *testing.T, d *Driver, id string, want drivers.State) drivers.Status {
	t.Helper()
	s, err := d.Inspect(t.Context(), id)
	if err != nil || s.State != want {
		t.Fatalf("state %q (%s), %v; want %q", s.State, s.Reason, err, want)
	}
	return s
}

// up starts a sandbox that runs the shell script.
func up(t *testing.T, d *Driver, spec drivers.Spec, script string) drivers.Spec {
	t.Helper()
	spec = made(t, d, spec, script)
	if err := d.Start(t.Context(), spec.ID); err != nil {
		t.Fatal(err, drivers.HintOf(err))
	}
	return spec
}

// made creates a sandbox that is to run the shell script.
func made(t *testing.T, d *Driver, spec drivers.Spec, script string) drivers.Spec {
	t.Helper()
	spec.Process.Args = []string{"/bin/sh", "-c", script}
	spec, _, err := d.Resolve(t.Context(), spec)
	if err != nil {
		t.Fatal(err, drivers.HintOf(err))
	}
	if err := d.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Remove(context.Background(), spec.ID) })
	return spec
}

// processes returns the host's processes of a running sandbox.
func processes(t *testing.T, d *Driver, id string) map[string]int {
	t.Helper()
	report, err := d.sandbox(id).ask(t.Context(), api.Request{Status: &struct{}{}})
	if err != nil {
		t.Fatal(err)
	}
	pids := report.PIDs
	if pids["monitor"], err = monitor.PID(d.dir(id)); err != nil {
		t.Fatal(err)
	}
	return pids
}

// TestAttachBeforeTheStart checks that a client which attached before the start gets a
// short workload's output and exit code.
func TestAttachBeforeTheStart(t *testing.T) {
	t.Parallel()
	d, spec := place(t)
	spec = made(t, d, spec, "echo quick; echo slow >&2; exit 7")
	var stdout, stderr capture.Buffer
	code := make(chan int, 1)
	go func() {
		c, err := d.Attach(t.Context(), spec.ID, false, drivers.Streams{Stdout: &stdout, Stderr: &stderr})
		if err != nil {
			t.Error(err)
		}
		code <- c
	}()
	waitFor(t, func() bool { return d.started.Waiting(spec.ID) == 1 })
	if err := d.Start(t.Context(), spec.ID); err != nil {
		t.Fatal(err)
	}
	if c := <-code; c != 7 || stdout.String() != "quick\n" || stderr.String() != "slow\n" {
		t.Errorf("%d, %q, %q", c, stdout.String(), stderr.String())
	}
}

// TestWhatAGuestSees checks that hidden directories look empty in the root and in a
// mount, and that nothing in a read-only mount can be written.
func TestWhatAGuestSees(t *testing.T) {
	t.Parallel()
	d, spec := place(t)
	ctx := t.Context()
	data := filepath.Join(filepath.Dir(spec.Dir), "..", "data")
	own := filepath.Clean(filepath.Join(data, "root"))
	if out, err := exec.Command("mkdir", "-p", data).CombinedOutput(); err != nil {
		t.Fatal(string(out))
	}
	if err := d.host.MakeRoot(ctx, own); err != nil {
		t.Fatal(err)
	}
	spec.VM.Rootfs = own
	for _, dir := range []string{"srv/state/keys", "var/open"} {
		if err := os.MkdirAll(filepath.Join(own, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	spec.Hidden = []string{filepath.Join(own, "srv/state")}
	spec.Mounts = driverstest.Mounts(t, filepath.Join(own, "srv"), "/mnt/one", filepath.Join(own, "var"), "/mnt/two")
	spec.VM.Ephemeral = true
	spec = up(t, d, spec, "ls /srv/state /mnt/one/state; ls /mnt/two; echo x > /mnt/two/x; echo y > /y && cat /y; hostname")
	if _, err := d.Wait(ctx, spec.ID); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if err := d.Logs(ctx, spec.ID, false, &stdout, &stderr); err != nil {
		t.Fatal(err)
	}
	want := "/mnt/one/state:\n\n/srv/state:\nlog\nopen\ntmp\ny\ne2e\n"
	if stdout.String() != want || !strings.Contains(stderr.String(), "Read-only file system") {
		t.Errorf("%q, %q", stdout.String(), stderr.String())
	}
}

func TestATerminal(t *testing.T) {
	t.Parallel()
	d, spec := place(t)
	spec.Process.Terminal, spec.Process.Size = true, drivers.Size{Rows: 24, Cols: 80}
	spec = up(t, d, spec, "trap 'stty size; exit 3' WINCH; stty size; while :; do sleep 0.1; done")
	resize := make(chan drivers.Size, 1)
	var out capture.Buffer
	code := make(chan int, 1)
	go func() {
		c, err := d.Attach(t.Context(), spec.ID, true, drivers.Streams{Stdout: &out, Resize: resize})
		if err != nil {
			t.Error(err)
		}
		code <- c
	}()
	await(t, &out, "24 80")
	resize <- drivers.Size{Rows: 50, Cols: 132}
	if c := <-code; c != 3 || !strings.Contains(out.String(), "50 132") {
		t.Errorf("%d, %q", c, out.String())
	}
}

func await(t *testing.T, out *capture.Buffer, text string) {
	t.Helper()
	if !out.Await(text, patience) {
		t.Fatalf("%q was not written, but %q", text, out)
	}
}

func TestProbeOnThisHost(t *testing.T) {
	d, _ := place(t)
	info := d.Probe(t.Context())
	if !info.Usable || info.Problem != "" || !strings.Contains(info.Version, "QEMU") {
		t.Errorf("%+v", info)
	}
	for _, f := range info.Details {
		t.Logf("%s: %s", f.Name, f.Value)
	}
}

// TestTheSecondBoot checks that a VM which hung during boot is booted a second time,
// and that it runs then, whatever the first boot left on disk.
func TestTheSecondBoot(t *testing.T) {
	t.Parallel()
	d, spec := place(t)
	d.hypervisors.all = chosen(krun.Options{}, qemu.Options{Accel: qemu.TCG}) // whose boots are known to hang now and then
	d.cfg.BootDeadline = hypervisor.Emulated.Deadline
	spec.VM.Hypervisor = qemu.Name
	spec = made(t, d, spec, "sleep 1000")
	started := make(chan error, 1)
	go func() { started <- d.Start(t.Context(), spec.ID) }()
	for hangs := false; !hangs; time.Sleep(time.Millisecond) {
		select {
		case err := <-started:
			t.Fatalf("it started before its hypervisor was found: %v", err)
		default:
		}
		r, err := d.sandbox(spec.ID).ask(t.Context(), api.Request{Status: &struct{}{}})
		if err != nil {
			continue
		}
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", r.PIDs["qemu"])) // its jail is complete
		hangs = strings.HasPrefix(string(comm), "qemu") && syscall.Kill(r.PIDs["qemu"], syscall.SIGSTOP) == nil
	}
	if err := <-started; err != nil {
		t.Fatal(err, drivers.HintOf(err))
	}
	if s := expectState(t, d, spec.ID, drivers.Running); !strings.Contains(s.Reason, "this is boot 2") {
		t.Errorf("the reason is %q", s.Reason)
	}
	stale := []byte(`{"state":"dead","exitCode":0,"reason":"the boot failed","exitedAt":"2026-01-02T03:04:05Z","attempt":1}`)
	if err := os.WriteFile(filepath.Join(d.dir(spec.ID), monitor.ExitFile), stale, 0o600); err != nil {
		t.Fatal(err)
	}
	expectState(t, d, spec.ID, drivers.Running) // an older version left that
}
