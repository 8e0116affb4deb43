//go:build e2e

package vm

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openshell-vm/drivers"
)

// programs builds what a VM needs, once for all tests.
func programs(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("OPENSHELL_BIN")
	if dir != "" {
		return dir
	}
	dir = t.TempDir()
	for _, p := range []string{"openshell-vmm", "openshell-init"} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, p), "openshell-vm/cmd/"+p)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", p, err, out)
		}
	}
	return dir
}

// place is a driver with directories of its own, and one sandbox's spec.
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
		Kernel: os.Getenv("OPENSHELL_KERNEL"), Virtiofsd: os.Getenv(VirtiofsdEnv),
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
	id := "e2e000000001"
	return d, drivers.Spec{
		ID: id, Name: "e2e", GatewayID: "test", Dir: filepath.Join(base, "sandboxes", id), Auth: mount, Stdin: true,
	}
}

func TestLifeOfAVM(t *testing.T) {
	d, spec := place(t)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
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
	var out waitBuffer
	go d.Attach(attached, spec.ID, true, drivers.Streams{Stdin: strings.NewReader("hello\n"), Stdout: &out})
	out.await(t, "a token\ngot hello\n")
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
