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
func TestConformance(t *testing.T) {
	dir, mountable := driverstest.WorkDir(t)
	libexec := programs(t)
	driverstest.Run(t, driverstest.Harness{
		Name: "vm, qemu",
		New: func(gatewayID string) drivers.Driver {
			return New(Config{
				GatewayID: gatewayID, SandboxesDir: filepath.Join(dir, "state", "sandboxes"), RuntimeDir: filepath.Join(dir, "run"),
				CacheDir: filepath.Join(os.TempDir(), "openshell-vm-test-cache"), Libexec: libexec,
				Kernel: os.Getenv("OPENSHELL_KERNEL"), Virtiofsd: os.Getenv(VirtiofsdEnv),
			})
		},
		Dir: dir, Mountable: mountable || os.Getuid() == 0,
		Complete: func(_ testing.TB, s *drivers.Spec) { s.Hypervisor, s.Memory = "qemu", 256<<20 },
	})
}
