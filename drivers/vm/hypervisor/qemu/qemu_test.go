package qemu

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// compare checks a command line, one argument a line, with its golden file.
func compare(t *testing.T, name string, args []string) {
	t.Helper()
	got := strings.Join(args, "\n") + "\n"
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n%s\nwant:\n%s", file, got, want)
	}
}

func TestMachineArgs(t *testing.T) {
	base := Machine{
		Arch: "amd64", Accel: TCG, CPUs: 2, Memory: 512 << 20,
		Kernel: "/vm/kernel", Initramfs: "/vm/initramfs", Upper: "/vm/upper.ext4",
		FDs: FDs{Stdio: 3, Console: 4, Control: 5, Root: 6, Shares: 7},
	}
	for name, change := range map[string]func(*Machine){
		"tcg":       func(*Machine) {},
		"kvm":       func(m *Machine) { m.Accel = KVM },
		"network":   func(m *Machine) { m.MAC, m.FDs.Network = "52:54:00:12:34:56", 8 },
		"image":     func(m *Machine) { m.Image, m.FDs.Root = "/vm/image.erofs", 0 },
		"ephemeral": func(m *Machine) { m.Upper = "" },
		"writable":  func(m *Machine) { m.FDs.Writable = []int{8, 9} },
		"arm64":     func(m *Machine) { m.Arch, m.Accel, m.CPUs, m.Memory = "arm64", KVM, 4, 2<<30 },
	} {
		t.Run(name, func(t *testing.T) {
			m := base
			change(&m)
			compare(t, "machine-"+name, m.Args())
		})
	}
}

func TestVirtiofsdArgs(t *testing.T) {
	for _, test := range []struct {
		name   string
		flavor Virtiofsd
		device Device
		caps   []string
	}{
		{"c-root", VirtiofsdC, Root, []string{"CAP_DAC_READ_SEARCH"}},
		{"c-shares", VirtiofsdC, Shares, nil},
		{"rust-root", VirtiofsdRust, Root, []string{"CAP_DAC_READ_SEARCH"}},
		{"rust-shares", VirtiofsdRust, Shares, nil},
		{"rust-old-shares", VirtiofsdRustOld, Shares, nil},
		{"c-writable", VirtiofsdC, Writable, []string{"CAP_DAC_OVERRIDE", "CAP_CHOWN"}},
		{"rust-writable", VirtiofsdRust, Writable, []string{"CAP_DAC_OVERRIDE", "CAP_CHOWN"}},
		{"rust-old-writable", VirtiofsdRustOld, Writable, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			compare(t, "virtiofsd-"+test.name, VirtiofsdArgs(test.flavor, test.device, "/shared", 3, test.caps))
		})
	}
}

// A share that a guest caches hides renewals from it.
func TestSharesAreNeverCached(t *testing.T) {
	for _, flavor := range []Virtiofsd{VirtiofsdC, VirtiofsdRust, VirtiofsdRustOld} {
		line := strings.Join(VirtiofsdArgs(flavor, Shares, "/shared", 3, nil), " ")
		if !strings.Contains(line, "cache=none") && !strings.Contains(line, "cache=never") {
			t.Errorf("%s: %s", flavor, line)
		}
	}
}

func TestNoGuestHasANetwork(t *testing.T) {
	args := strings.Join(Machine{Arch: "amd64", CPUs: 1, Memory: 1 << 30}.Args(), " ")
	if !strings.Contains(args, "-nic none") || strings.Contains(args, "virtio-net") || strings.Contains(args, "-netdev") {
		t.Error(args)
	}
}

func TestACommaInAPathEndsNoOption(t *testing.T) {
	args := Machine{Arch: "amd64", Upper: "/a,readonly=on/b"}.Args()
	for _, a := range args {
		if strings.Contains(a, "id=upper,") && !strings.HasSuffix(a, "file=/a,,readonly=on/b") {
			t.Error(a)
		}
	}
}

func TestParseVirtiofsdVersion(t *testing.T) {
	for _, test := range []struct {
		out     string
		flavor  Virtiofsd
		version string
	}{
		{"virtiofsd version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright (c) 2003-2022\n", VirtiofsdC, "7.2.22"},
		{"virtiofsd 1.13.2\n", VirtiofsdRust, "1.13.2"},
		{"virtiofsd 1.10.0", VirtiofsdRust, "1.10.0"},
	} {
		flavor, version, err := parseVirtiofsdVersion(test.out)
		if flavor != test.flavor || version != test.version || err != nil {
			t.Errorf("%q: %s, %s, %v", test.out, flavor, version, err)
		}
	}
	for _, out := range []string{"", "virtiofsd", "bash 5.2", "virtiofsd\n1.13"} {
		if _, _, err := parseVirtiofsdVersion(out); err == nil {
			t.Errorf("%q was taken for a virtiofsd", out)
		}
	}
}

func TestDetectVirtiofsdRunsTheProgram(t *testing.T) {
	for script, want := range map[string]Virtiofsd{
		"echo virtiofsd version 7.2.22":                       VirtiofsdC,
		`[ "$1" = --help ] || echo virtiofsd 1.10.0`:          VirtiofsdRustOld,
		`echo virtiofsd 1.13.0; echo --no-announce-submounts`: VirtiofsdRust,
		"echo virtiofsd 1.13.0; exit 1":                       "",
		`echo "setgroups() failed with error=1" >&2; exit 1`:  VirtiofsdC,
	} {
		program := filepath.Join(t.TempDir(), "virtiofsd")
		if err := os.WriteFile(program, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		flavor, _, err := DetectVirtiofsd(context.Background(), program)
		if flavor != want || (err != nil) != (want == "") {
			t.Errorf("%s: %q, %v", script, flavor, err)
		}
	}
	if _, _, err := DetectVirtiofsd(context.Background(), "/nowhere/virtiofsd"); err == nil {
		t.Error("a missing program has a version")
	}
}

func TestFilesOfQEMU(t *testing.T) {
	prefix := t.TempDir()
	module := filepath.Join(prefix, "lib/x86_64-linux-gnu/qemu/accel-tcg-x86_64.so")
	firmware := filepath.Join(prefix, "share/seabios")
	for _, dir := range []string{filepath.Dir(module), firmware} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(module, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	plugins, data := Files(filepath.Join(prefix, "bin/qemu-system-x86_64"))
	if len(plugins) != 1 || plugins[0] != module || len(data) != 1 || data[0] != firmware {
		t.Error(plugins, data)
	}
}
