// Package driverstest is the one conformance suite that every driver passes on
// its real engine. A driver's e2e test describes the engine in a Harness and
// calls Run; the suite publishes real generations with package share, watches
// them from inside with a static witness program, and breaks things with the
// harness's hooks.
//
// It is a test package and therefore the one place under drivers that may
// import share.
package driverstest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"openshell-vm/drivers"
)

// Harness is one driver on one engine. Nil hooks say that there is no such
// thing; the cases that need them are reported as not applicable.
type Harness struct {
	// Name heads the table: "docker 20.10, rootful".
	Name string

	// New gives a driver for this gateway's sandboxes, as a gateway that has
	// just started would make it.
	New func(gatewayID string) drivers.Driver

	// Dir is an empty directory for the suite's state and sources, where the
	// engine can see mounts made later. The suite clears it.
	Dir string

	// Complete fills in what a spec needs on this engine: an image or a root,
	// further Hidden directories.
	Complete func(t testing.TB, s *drivers.Spec)

	// Witness brings the static program at host into the sandbox and returns
	// its path there. Nil for a read-only mount.
	Witness func(t testing.TB, host string, s *drivers.Spec) string

	// RestartEngine ends the engine as a crash would and starts it again.
	RestartEngine func(t testing.TB)

	// RemoveBehind removes the sandbox without asking the driver.
	RemoveBehind func(t testing.TB, id string)

	// Impostor runs a container of somebody else's that ends at once with 3; it is
	// gone at the test's end. Its labels are the image's or its own; name may be "".
	Impostor func(t testing.TB, name string, labels map[string]string, onImage bool)

	// Metadata is all that the engine keeps about a sandbox: its inspect, its
	// files.
	Metadata func(t testing.TB, id string) []byte

	// Blind says that the engine does not see what is mounted elsewhere than
	// below Dir.
	Blind bool

	// Mountable says that the suite may mount file systems below Dir.
	Mountable bool
}

// Missing ends a test whose engine is not there: a failure where E2E_REQUIRE=1
// asks for it, else a skip.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("E2E_REQUIRE") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// WorkDir is a fresh directory for Harness.Dir: below the test engines' own
// (scripts/engines), where they see later mounts, or in /var/tmp.
func WorkDir(t testing.TB) (dir string, mountable bool) {
	t.Helper()
	parent := os.Getenv("OPENSHELL_ENGINES")
	mountable = parent != "" && os.Getuid() == 0
	if own := os.Getenv(envWorkDir); own != "" {
		parent = own
	} else if parent == "" {
		parent = "/var/tmp"
	}
	dir, err := os.MkdirTemp(parent, "suite-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // an engine's user namespace is another user
		t.Fatal(err)
	}
	return dir, mountable
}

// buildWitness compiles the program that runs inside.
func buildWitness(t testing.TB, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "witness")
	if built := os.Getenv(envWitness); built != "" {
		copyProgram(t, built, path)
		return path
	}
	if ready := os.Getenv("OPENSHELL_WITNESS"); ready != "" { // where a compiler would be too slow
		data, err := os.ReadFile(ready)
		if err == nil {
			err = os.WriteFile(path, data, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	cmd := exec.Command("go", "build", "-trimpath", "-o", path, "openshell-vm/drivers/driverstest/witness")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the witness: %v\n%s", err, out)
	}
	return path
}
