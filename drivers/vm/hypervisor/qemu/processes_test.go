package qemu

import (
	"os"
	"slices"
	"strings"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/host"
	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/jail"
)

// ports returns the ends of three pipes.
func ports(t *testing.T) hypervisor.Ports {
	t.Helper()
	open := func() *os.File {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	return hypervisor.Ports{Stdio: open(), Console: open(), Control: open()}
}

// TestProcesses checks that QEMU sees no directory of a user, that each file server sees only what it
// serves, and that only the disk and what the guest may write to are writable.
func TestProcesses(t *testing.T) {
	tools := &Tools{
		Binary: host.Program{Path: "/usr/bin/qemu"}, Accel: TCG, Virtiofsd: host.Program{Path: "/usr/bin/virtiofsd"}, Flavor: VirtiofsdRust,
		Kernel: "/boot/k", Initramfs: "/cache/i",
	}
	m := hypervisor.Machine{
		RunDir: t.TempDir(), Boot: "/boot-spec", Rootfs: drivers.Tree{Source: "/root-dir", Masks: []string{"secret"}}, Auth: "/auth",
		Mounts: []hypervisor.Shared{{Name: "mount-0", Tree: drivers.Tree{Source: "/data"}}}, Upper: "/disk", CPUs: 2, Memory: 256 << 20,
		Writable: []hypervisor.Shared{{Name: "writable-0", Tree: drivers.Tree{Source: "/work"}}, {Name: "writable-1", Tree: drivers.Tree{Source: "/more"}}},
	}
	p := ports(t)
	all, err := tools.Processes(m, p)
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		name   string
		server bool
		files  int
		sees   string
	}{
		{"qemu", false, 7, "/boot/k /cache/i /disk"},
		{"virtiofsd-root", true, 1, "/root-dir"},
		{"virtiofsd-shares", true, 1, "/boot-spec /auth /data"},
		{"virtiofsd-writable-0", true, 1, "/work"},
		{"virtiofsd-writable-1", true, 1, "/more"},
	}
	if len(all) != len(want) {
		t.Fatalf("%d processes", len(all))
	}
	for i, w := range want {
		got := all[i]
		defer hypervisor.CloseAll(got.Files...)
		var sees []string
		for _, b := range got.Jail.Binds {
			sees = append(sees, b.Source)
			if b.Writable != slices.Contains([]string{"/disk", "/work", "/more"}, b.Source) {
				t.Errorf("%s: %+v", got.Name, b)
			}
		}
		if got.Name != w.name || got.Server != w.server || len(got.Files) != w.files || strings.Join(sees, " ") != w.sees {
			t.Errorf("%s (server %v) has %d files and sees %v; want %+v", got.Name, got.Server, len(got.Files), sees, w)
		}
	}
	if files := all[0].Files[:3]; !slices.Equal(files, []*os.File{p.Stdio, p.Console, p.Control}) {
		t.Error("QEMU's first descriptors are not the ports")
	}
	if masks := all[1].Jail.Masks; !slices.Equal(masks, []string{"/shared/secret"}) {
		t.Errorf("covered: %v", masks)
	}
	if all[1].Jail.Profile != jail.FileServer || all[3].Jail.Profile != jail.WritingServer {
		t.Errorf("the Rust server's profiles are %s, %s", all[1].Jail.Profile, all[3].Jail.Profile)
	}
	if line := strings.Join(all[0].Jail.Args, " "); !strings.Contains(line, "id=fs-writable-1,fd=9") {
		t.Errorf("QEMU has no second device: %s", line)
	}
	tools.Flavor, tools.Accel = VirtiofsdC, KVM
	if all, err = tools.Processes(m, p); err != nil {
		t.Fatal(err)
	}
	for _, got := range all {
		hypervisor.CloseAll(got.Files...)
	}
	if last := all[0].Jail.Binds; !last[len(last)-1].Device || all[1].Jail.Profile != jail.ChrootServer || all[3].Jail.Profile != jail.WritingChrootServer {
		t.Errorf("with KVM and the C server: %+v, %s", last, all[1].Jail.Profile)
	}
}

// TestBoots checks that only an emulated guest gets more time and memory, and is tried again.
func TestBoots(t *testing.T) {
	slow, fast := &Tools{Accel: TCG}, &Tools{Accel: KVM}
	if slow.Boot() != hypervisor.Emulated || slow.Overhead() != 1<<30 || fast.Boot() != hypervisor.Native || fast.Overhead() != 0 {
		t.Errorf("%+v %d, %+v %d", slow.Boot(), slow.Overhead(), fast.Boot(), fast.Overhead())
	}
}

// TestProcessesOfAnImage: an image needs no server for the root, and QEMU can't write to it.
func TestProcessesOfAnImage(t *testing.T) {
	tools := &Tools{Binary: host.Program{Path: "/usr/bin/qemu"}, Accel: TCG, Virtiofsd: host.Program{Path: "/usr/bin/virtiofsd"}, Flavor: VirtiofsdRust}
	all, err := tools.Processes(hypervisor.Machine{RunDir: t.TempDir(), Boot: "/boot-spec", Auth: "/auth", Image: "/cache/root.erofs", CPUs: 1}, ports(t))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range all {
		defer hypervisor.CloseAll(p.Files...)
		names = append(names, p.Name)
	}
	if !slices.Equal(names, []string{"qemu", "virtiofsd-shares"}) {
		t.Errorf("the processes are %v", names)
	}
	if !slices.ContainsFunc(all[0].Jail.Binds, func(b jail.Bind) bool {
		return b.Source == "/cache/root.erofs" && b.Target == hypervisor.JailImage && !b.Writable
	}) {
		t.Errorf("QEMU sees %+v", all[0].Jail.Binds)
	}
	args := strings.Join(all[0].Jail.Args, " ")
	if !strings.Contains(args, "readonly=on,file="+hypervisor.JailImage) || strings.Contains(args, "fs-root") {
		t.Error(args)
	}
}
