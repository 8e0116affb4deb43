//go:build e2e

package vm

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest"
	"openshell-vm/drivers/driverstest/fixture"
	"openshell-vm/drivers/driverstest/roots"
	"openshell-vm/drivers/driverstest/testhost"
	"openshell-vm/drivers/vm/hypervisor/krun"
	"openshell-vm/drivers/vm/hypervisor/qemu"
)

// TestConformance runs the suite that every driver has to pass, on qemu with the best accelerator
// that works here.
func TestConformance(t *testing.T) { driverstest.Run(t, harness(t, os.Getenv(qemu.VirtiofsdEnv))) }

// TestOddRootAsUser starts a root with files that the ordinary user may not read, and an image
// with files of many owners. Variables name both file servers; an image needs none.
func TestOddRootAsUser(t *testing.T) {
	bin := openPrograms(t)
	t.Parallel()
	for name, virtiofsd := range virtiofsds() {
		t.Run(name, func(t *testing.T) {
			if virtiofsd == "" && name == "rust" {
				testhost.Missing(t, "OPENSHELL_RUST_VIRTIOFSD is not set: scripts/e2e sets it")
			}
			t.Parallel()
			cases, env := "a-root-as-people-have-them", []string{"OPENSHELL_BIN=" + bin, qemu.VirtiofsdEnv + "=" + virtiofsd}
			if name == "installed" {
				cases += "|an-image-as-people-don't-have-them"
			}
			testhost.AsUser(t, 15000, nil, "^TestConformance$/^("+cases+")$", env...)
		})
	}
}

// TestOddRootRust runs one case of the conformance suite on the other file server.
func TestOddRootRust(t *testing.T) {
	rust := virtiofsds()["rust"]
	if rust == "" {
		testhost.Missing(t, "OPENSHELL_RUST_VIRTIOFSD is not set: scripts/e2e sets it")
	}
	t.Parallel()
	roots.OddRoot(t, harness(t, rust))
}

// virtiofsds returns the two kinds of virtiofsd from their variables.
func virtiofsds() map[string]string {
	return map[string]string{"installed": os.Getenv(qemu.VirtiofsdEnv), "rust": os.Getenv("OPENSHELL_RUST_VIRTIOFSD")}
}

// TestFreshness measures without the guest's watch, too. It makes no difference on qemu, since
// virtiofsd is told to cache nothing.
func TestFreshness(t *testing.T) {
	t.Parallel()
	for name, virtiofsd := range virtiofsds() {
		t.Run(name, func(t *testing.T) {
			if name == "rust" && virtiofsd == "" {
				testhost.Missing(t, "OPENSHELL_RUST_VIRTIOFSD is not set: scripts/e2e sets it")
			}
			t.Parallel()
			driverstest.Freshness(t, harness(t, virtiofsd), 20)
		})
	}
}

// cacheDir returns this user's cache directory.
func cacheDir() string {
	name := "openshell-vm-test-cache"
	if uid := os.Getuid(); uid != 0 {
		name += "-" + strconv.Itoa(uid)
	}
	return filepath.Join(os.TempDir(), name)
}

// harness is this driver on qemu, with the given virtiofsd; "" means the driver's choice.
func harness(t *testing.T, virtiofsd string) driverstest.Harness {
	dir, mountable := testhost.WorkDir(t)
	libexec := programs(t)
	return driverstest.Harness{
		Name: "vm, qemu",
		New: func(gatewayID string) drivers.Driver {
			return New(Config{
				GatewayID: gatewayID, SandboxesDir: filepath.Join(dir, "state", "sandboxes"), RuntimeDir: filepath.Join(dir, "run"),
				CacheDir: cacheDir(), Libexec: libexec,
				Hypervisors: chosen(krun.Options{}, qemu.Options{Virtiofsd: virtiofsd}), BootDeadline: patience,
			})
		},
		Dir: dir, Mountable: mountable || os.Getuid() == 0, Guest: true, Netns: fixture.OwnNetns,
		Complete: func(_ testing.TB, s *drivers.Spec) {
			s.VM.Hypervisor, s.Memory, s.CPUs = qemu.Name, 256<<20, 1 // an emulated guest with two boots for a fifth longer
		},
		Limits: limits(),
	}
}

// limits are README's for a VM's writable mounts.
func limits() map[string]string {
	l := map[string]string{
		"a file without a name":           "not supported", // no virtiofsd can make one
		"a file with the set-user-id bit": "not permitted", // it would be one on the host
		"a device node":                   "denied",
		"a file with capabilities":        "not permitted",
	}
	if os.Getuid() != 0 {
		l["chown"] = "" // an ordinary user has no other users to give files to
	}
	return l
}
