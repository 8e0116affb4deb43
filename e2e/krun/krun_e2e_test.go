//go:build e2e

package krun_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest"
	"openshell-vm/drivers/driverstest/fixture"
	"openshell-vm/drivers/driverstest/roots"
	"openshell-vm/drivers/driverstest/testhost"
	"openshell-vm/drivers/vm"
	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/hypervisor/krun"
	"openshell-vm/drivers/vm/hypervisor/qemu"
	"openshell-vm/drivers/vm/jail/jailtest"
	"openshell-vm/drivers/vm/jail/jailtest/listed"
	"openshell-vm/drivers/vm/kvm"
)

// inside is true in the outer machine.
var inside = os.Getenv("KRUN_INSIDE") == "1"

// covered and missing are for the last lines.
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

// part is a group of cases that need a VM. Each part has an outer machine of its own, so that a
// machine that hangs costs only its part.
type part struct {
	name string
	run  func(t *testing.T)
}

var parts = []part{
	{"conformance", func(t *testing.T) { driverstest.Run(t, harness(t, 5*time.Minute)) }},
	{"freshness", freshness},
	{"deaths", func(t *testing.T) { driverstest.Deaths(t, harness(t, 5*time.Minute)) }},
	{"confined", func(t *testing.T) { driverstest.EachProcess(t, harness(t, 5*time.Minute), confined) }},
	{"large-root", func(t *testing.T) { roots.LargeRoot(t, harness(t, 5*time.Minute), 5_000) }},
	{"user", asUser},
	{"newer", newer},
	{"hung-boot", func(t *testing.T) { driverstest.HungBoot(t, harness(t, 50*time.Millisecond)) }},
}

// TestOnLibkrun runs everything that needs a VM, here or in outer machines.
func TestOnLibkrun(t *testing.T) {
	lib, firmware := os.Getenv("LIBKRUN"), os.Getenv("LIBKRUNFW")
	if lib == "" || firmware == "" {
		missing = append(missing, "everything from krun_start_enter on: no VM has run. Give LIBKRUN and LIBKRUNFW")
		t.Skip("LIBKRUN and LIBKRUNFW are not set")
	}
	works := probeKVM(t)
	run, where := func(t *testing.T, p part) { p.run(t) }, "on this machine's KVM"
	switch {
	case works.Usable:
	case inside:
		t.Fatalf("KVM does not work in the outer machine: %s", works.Reason)
	case runtime.GOARCH != "amd64":
		missing = append(missing, "everything from krun_start_enter on: KVM does not work here ("+works.Reason+"), and only x86-64 can be emulated with it")
		t.Skip("no KVM")
	default:
		t.Logf("KVM does not work here: %s", works.Reason)
		run, where = inOuterMachine, "in an outer machine with emulated AMD-V"
	}
	for _, p := range parts {
		if only != "" && p.name != strings.Split(only, "/")[0] {
			missing = append(missing, p.name+": KRUN_RUN is "+only)
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			t.Cleanup(func() { note(t, p.name, where) })
			run(t, p)
		})
	}
}

// only is the only part, or part and case, to run; "" for all.
var only = os.Getenv("KRUN_RUN")

// note keeps how a part went for the last lines.
func note(t *testing.T, name, where string) {
	switch {
	case t.Failed():
		missing = append(missing, name+" failed "+where)
	case only != "" && only != name:
		missing = append(missing, name+", but for "+only)
	default:
		covered = append(covered, name+" on "+os.Getenv("LIBKRUN")+", "+where)
	}
}

// inOuterMachine runs a part where KVM is emulated.
func inOuterMachine(t *testing.T, p part) {
	env := []string{
		"KRUN_INSIDE=1", "KRUN_NEWER=" + newerLibrary(t), "E2E_REQUIRE=1", "OPENSHELL_BIN=" + programDir(t), "OPENSHELL_WITNESS=" + witnessPath(t),
		"KRUN_RUN=" + only, "KRUN_UNWATCHED=" + os.Getenv("KRUN_UNWATCHED"),
		"OPENSHELL_ODD_FILES=" + os.Getenv("OPENSHELL_ODD_FILES"),
	}
	for _, name := range []string{"LIBKRUN", "LIBKRUNFW"} {
		path, err := filepath.EvalSymlinks(os.Getenv(name))
		if err != nil {
			t.Fatal(err)
		}
		env = append(env, name+"="+path)
	}
	pattern := p.name
	if strings.HasPrefix(only, p.name+"/") {
		pattern = only
	}
	if code := runOutside(t, []string{"-test.v", "-test.run=^TestOnLibkrun$/^" + pattern, "-test.timeout=60m"}, env); code != 0 {
		t.Errorf("exit code %d in the outer machine", code)
	}
}

// cacheDir returns the directory for the drivers' cache, for this user and this run.
func cacheDir() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("openshell-krun-test-cache-%d", os.Getuid()))
}

// probeKVM finds out whether KVM works, and puts that into the drivers' cache. In the outer
// machine, where KVM must work, it tries for some minutes: the probe has 2 s for its guest's
// instructions, and a busy host under two emulations may need longer.
func probeKVM(t *testing.T) kvm.Result {
	t.Helper()
	if err := os.MkdirAll(cacheDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	p := kvm.Prober{
		Self: program(t, "openshell-vmm"), Hypervisor: "krun", Cache: filepath.Join(cacheDir(), "kvm.json"),
	}
	r := p.Probe(t.Context())
	for begin := time.Now(); inside && !r.Usable && time.Since(begin) < 5*time.Minute; {
		t.Logf("once more: %s", r.Reason)
		if err := os.Remove(p.Cache); err != nil {
			t.Fatal(err)
		}
		r = p.Probe(t.Context())
	}
	return r
}

// freshness measures what invariant 3 of the design promises for this hypervisor. Each publish
// without the watch takes some seconds, so it measures only KRUN_UNWATCHED of them, or 20.
func freshness(t *testing.T) {
	unwatched := 20
	if n, err := strconv.Atoi(os.Getenv("KRUN_UNWATCHED")); err == nil && n > 0 {
		unwatched = n
	}
	driverstest.Freshness(t, harness(t, 5*time.Minute), unwatched)
}

// asUser runs two parts as an ordinary user who may use KVM. The user gets copies of programs and
// libraries, since these may lie where only root can go.
func asUser(t *testing.T) {
	info, err := os.Stat("/dev/kvm")
	if err == nil && inside { // where nobody else is
		err = os.Chmod("/dev/kvm", 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/var/tmp", "krun-user-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	env := []string{"KRUN_RUN=", "OPENSHELL_BIN=" + filepath.Join(dir, "bin")}
	errs := []error{os.Chmod(dir, 0o755), os.CopyFS(filepath.Join(dir, "bin"), os.DirFS(programDir(t)))}
	for _, name := range []string{"LIBKRUN", "LIBKRUNFW"} {
		path := os.Getenv(name)
		data, err := os.ReadFile(path)
		errs = append(errs, err, os.WriteFile(filepath.Join(dir, filepath.Base(path)), data, 0o755))
		env = append(env, name+"="+filepath.Join(dir, filepath.Base(path)))
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	testhost.AsUser(t, 15000, []int{int(info.Sys().(*syscall.Stat_t).Gid)},
		"^TestOnLibkrun$/^(conformance|confined)$", env...)
}

// newer uses a libkrun that is newer than known. auto has to choose qemu, and doctor has to say
// why, and what to do.
func newer(t *testing.T) {
	dir, _ := testhost.WorkDir(t)
	driver := vm.New(vm.Config{
		GatewayID: "0123456789ab", SandboxesDir: filepath.Join(dir, "sandboxes"), RuntimeDir: filepath.Join(dir, "run"),
		CacheDir: cacheDir(), Libexec: programDir(t), Hypervisors: withLibkrun(newerLibrary(t), os.Getenv("LIBKRUNFW")),
	})
	facts := map[string]string{}
	for _, f := range driver.Probe(t.Context()).Details {
		facts[f.Name] = f.Value
	}
	why := "qemu, since krun can't be used: use libkrun: this libkrun is newer than known"
	if !strings.HasPrefix(facts["hypervisor"], why) || !strings.HasPrefix(facts["to use krun"], "use --hypervisor qemu, or keep a libkrun 1.x") {
		t.Errorf("doctor says %q", facts)
	}
	spec, _, err := driver.Resolve(t.Context(), drivers.Spec{VM: drivers.VM{Hypervisor: "auto", Rootfs: dir}})
	if err != nil || spec.VM.Hypervisor != "qemu" {
		t.Errorf("auto takes %q: %v", spec.VM.Hypervisor, err)
	}
	if _, _, err = driver.Resolve(t.Context(), drivers.Spec{VM: drivers.VM{Hypervisor: "krun", Rootfs: dir}}); err == nil || !strings.Contains(err.Error(), "newer than known") {
		t.Errorf("asked for krun: %v", err)
	}
}

// newerLibrary builds a library that calls itself libkrun.so.2. The outer machine gets it from the
// host.
func newerLibrary(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("KRUN_NEWER"); path != "" {
		return path
	}
	dir, err := os.MkdirTemp("", "krun")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return contract(t, dir, "libkrun.so.2", "-DVERSION=20000", "-Wl,-soname,libkrun.so.2")
}

// confined checks what a VM's process has in its jail.
func confined(t *testing.T, dir, name string, pid int) {
	if name == "monitor" {
		t.Skip("it is what makes the jails")
	}
	want, err := listed.Want(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	jailtest.Check(t, pid, want)
}

// harness is the vm driver with the libkrun under test. The deadline is generous if two emulations
// lie below the guest.
func harness(t *testing.T, bootDeadline time.Duration) driverstest.Harness {
	dir, mountable := testhost.WorkDir(t)
	return driverstest.Harness{
		Name:      "vm, krun",
		Dir:       dir,
		Mountable: mountable || inside && os.Getuid() == 0,
		Guest:     true,
		Netns:     fixture.OwnNetns,
		New: func(gateway string) drivers.Driver {
			return vm.New(vm.Config{
				GatewayID: gateway, SandboxesDir: filepath.Join(dir, "state", "sandboxes"), RuntimeDir: filepath.Join(dir, "run"),
				CacheDir: cacheDir(), Libexec: programDir(t),
				Hypervisors:  withLibkrun(os.Getenv("LIBKRUN"), os.Getenv("LIBKRUNFW")),
				BootDeadline: bootDeadline,
			})
		},
		Complete: func(_ testing.TB, s *drivers.Spec) {
			s.VM.Hypervisor, s.Memory = "krun", 256<<20
		},
	}
}

// withLibkrun returns the hypervisors; krun has these libraries.
func withLibkrun(library, firmware string) []hypervisor.Hypervisor {
	return []hypervisor.Hypervisor{krun.New(krun.Options{Library: library, Firmware: firmware}), qemu.New(qemu.Options{})}
}

// witnessPath returns the suite's program. The outer machine gets it from the host: compiling would
// take minutes there.
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
