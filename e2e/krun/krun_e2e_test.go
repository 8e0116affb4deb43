//go:build e2e

package krun_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest"
	"openshell-vm/drivers/vm"
	"openshell-vm/drivers/vm/kvm"
)

// inside says that this is the outer machine.
var inside = os.Getenv("KRUN_INSIDE") == "1"

// covered and missing are what the last lines tell.
var covered, missing []string

func TestMain(m *testing.M) {
	code := m.Run()
	if inside {
		os.Exit(code)
	}
	for _, line := range covered {
		fmt.Println("covered:", line)
	}
	for _, line := range missing {
		fmt.Println("NOT COVERED:", line)
	}
	if code == 0 && len(missing) > 0 && os.Getenv("E2E_REQUIRE_KRUN") == "1" {
		fmt.Println("E2E_REQUIRE_KRUN=1, so that is a failure")
		code = 1
	}
	os.Exit(code)
}

// TestOnLibkrun runs everything that needs a VM, here or in an outer machine.
func TestOnLibkrun(t *testing.T) {
	lib, firmware := os.Getenv("LIBKRUN"), os.Getenv("LIBKRUNFW")
	if lib == "" || firmware == "" {
		missing = append(missing, "everything from krun_start_enter on: no VM has run. Give LIBKRUN and LIBKRUNFW")
		t.Skip("LIBKRUN and LIBKRUNFW are not set")
	}
	works := probeKVM(t)
	if works.Usable {
		t.Run("vm", onKVM)
		note(t, "on this machine's KVM")
		return
	}
	if inside {
		t.Fatalf("KVM does not work in the outer machine: %s", works.Reason)
	}
	if runtime.GOARCH != "amd64" {
		missing = append(missing, "everything from krun_start_enter on: KVM does not work here ("+works.Reason+"), and only x86-64 can be emulated with it")
		t.Skip("no KVM")
	}
	t.Logf("KVM does not work here: %s", works.Reason)
	for _, path := range []*string{&lib, &firmware} {
		real, err := filepath.EvalSymlinks(*path)
		if err != nil {
			t.Fatal(err)
		}
		*path = real
	}
	args := []string{"-test.v", "-test.run=^TestOnLibkrun$/" + os.Getenv("KRUN_RUN"), "-test.timeout=60m"}
	if code := runOutside(t, args, []string{
		"KRUN_INSIDE=1", "E2E_REQUIRE=1", "LIBKRUN=" + lib, "LIBKRUNFW=" + firmware, "OPENSHELL_BIN=" + programDir(t),
		"OPENSHELL_WITNESS=" + witnessPath(t), "KRUN_UNWATCHED=" + os.Getenv("KRUN_UNWATCHED"),
	}); code != 0 {
		t.Errorf("exit code %d in the outer machine", code)
	}
	note(t, "in an outer machine with emulated AMD-V")
}

// cacheDir is the drivers' in this run.
func cacheDir() string { return filepath.Join(os.TempDir(), "openshell-krun-test-cache") }

// probeKVM finds out whether KVM works and has the drivers remember it. The
// outer machine, where it must, gets some tries: the probe has 2 s, and a busy
// host under two emulations may need them for reading the program.
func probeKVM(t *testing.T) kvm.Result {
	t.Helper()
	if err := os.MkdirAll(cacheDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	p := kvm.Prober{
		Self: program(t, "openshell-vmm"), Hypervisor: "krun", Cache: filepath.Join(cacheDir(), "kvm.json"),
	}
	r := p.Probe(t.Context())
	for range 10 {
		if r.Usable || !inside {
			break
		}
		t.Logf("once more: %s", r.Reason)
		if err := os.Remove(p.Cache); err != nil {
			t.Fatal(err)
		}
		r = p.Probe(t.Context())
	}
	return r
}

func note(t *testing.T, where string) {
	if t.Failed() {
		missing = append(missing, "some cases on "+os.Getenv("LIBKRUN")+" failed, "+where)
		return
	}
	what := "conformance suite, freshness and deaths of a VM"
	if only := os.Getenv("KRUN_RUN"); only != "" {
		missing = append(missing, what+", but for "+only)
		what = only
	}
	covered = append(covered, what+" on "+os.Getenv("LIBKRUN")+", "+where)
}

// onKVM is all that wants a working KVM.
func onKVM(t *testing.T) {
	t.Run("conformance", conformance)
	t.Run("freshness", freshness)
	t.Run("deaths", deaths)
}

// conformance is the suite that every driver passes.
func conformance(t *testing.T) {
	dir, mountable := driverstest.WorkDir(t)
	driverstest.Run(t, driverstest.Harness{
		Name:      "vm, krun",
		Dir:       dir,
		Mountable: mountable || inside,
		New:       func(gateway string) drivers.Driver { return newDriver(t, dir, gateway) },
		Complete: func(_ testing.TB, s *drivers.Spec) {
			s.Hypervisor, s.Memory = "krun", 256<<20
		},
	})
}

// newDriver is the vm driver with the libkrun that is under test.
func newDriver(t testing.TB, dir, gateway string) *vm.Driver {
	return vm.New(vm.Config{
		GatewayID: gateway, SandboxesDir: filepath.Join(dir, "state", "sandboxes"), RuntimeDir: filepath.Join(dir, "run"),
		CacheDir: cacheDir(), Libexec: programDir(t),
		Libkrun: os.Getenv("LIBKRUN"), Libkrunfw: os.Getenv("LIBKRUNFW"),
		BootDeadline: 2 * time.Minute, // under double emulation
	})
}

// witnessPath is the suite's program. The outer machine gets it from here:
// compiling would take minutes there.
func witnessPath(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("OPENSHELL_WITNESS"); path != "" {
		return path
	}
	path := filepath.Join(t.TempDir(), "witness")
	cmd := exec.Command("go", "build", "-trimpath", "-o", path, "openshell-vm/drivers/driverstest/witness")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the witness: %v\n%s", err, out)
	}
	return path
}
