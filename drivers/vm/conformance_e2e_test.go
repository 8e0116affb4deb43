//go:build e2e

package vm

import (
	"os"
	"path/filepath"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest"
)

// TestConformance is the suite that every driver passes, on qemu with the best
// accelerator that works here.
func TestConformance(t *testing.T) { driverstest.Run(t, harness(t)) }

// TestFreshness: virtiofsd is told to cache nothing, so the guest's watch makes
// no difference on qemu.
func TestFreshness(t *testing.T) {
	rust := os.Getenv("OPENSHELL_RUST_VIRTIOFSD")
	for name, virtiofsd := range map[string]string{"installed": os.Getenv(VirtiofsdEnv), "rust": rust} {
		t.Run(name, func(t *testing.T) {
			if name == "rust" && rust == "" {
				driverstest.Missing(t, "OPENSHELL_RUST_VIRTIOFSD is not set: scripts/e2e sets it")
			}
			t.Setenv(VirtiofsdEnv, virtiofsd)
			driverstest.Freshness(t, harness(t), 20)
		})
	}
}

// harness is this driver on qemu.
func harness(t *testing.T) driverstest.Harness {
	dir, mountable := driverstest.WorkDir(t)
	libexec := programs(t)
	return driverstest.Harness{
		Name: "vm, qemu",
		New: func(gatewayID string) drivers.Driver {
			return New(Config{
				GatewayID: gatewayID, SandboxesDir: filepath.Join(dir, "state", "sandboxes"), RuntimeDir: filepath.Join(dir, "run"),
				CacheDir: filepath.Join(os.TempDir(), "openshell-vm-test-cache"), Libexec: libexec,
				Kernel: os.Getenv("OPENSHELL_KERNEL"), Virtiofsd: os.Getenv(VirtiofsdEnv),
				BootDeadline: patience,
			})
		},
		Dir: dir, Mountable: mountable || os.Getuid() == 0,
		Complete: func(_ testing.TB, s *drivers.Spec) { s.Hypervisor, s.Memory = "qemu", 256<<20 },
	}
}
