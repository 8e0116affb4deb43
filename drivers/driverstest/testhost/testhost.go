// Package testhost is what the tests of drivers need of the host that they run on: the
// engines that scripts/engines starts, a directory to work in, another user to be, and
// the witness, the program that runs inside. It knows no driver.
package testhost

import (
	"os"
	"testing"
)

// Missing ends a test whose engine is not there. With E2E_REQUIRE=1 it fails, else it is
// skipped.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("E2E_REQUIRE") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// WorkDir is a fresh directory for Harness.Dir. It lies below that of the test engines
// (scripts/engines), where they see later mounts, else in /var/tmp. mountable says that
// the test may mount file systems there.
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
