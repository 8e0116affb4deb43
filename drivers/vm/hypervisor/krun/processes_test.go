package krun

import (
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/host"
	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/hypervisor/krun/krunvm"
	"openshell-vm/drivers/vm/jail"
)

// TestProcesses checks that the one process gets its configuration, and a terminal for its console
// whose output comes out of the port.
func TestProcesses(t *testing.T) {
	tools := &Tools{Binary: host.Program{Path: "/usr/bin/openshell-krun"}, Library: "/l", Firmware: "/f", Init: "/init"}
	m := hypervisor.Machine{
		Boot: "/boot-spec", Rootfs: drivers.Tree{Source: "/root-dir", Masks: []string{"secret"}}, Auth: "/auth", CPUs: 2, Memory: 256 << 20,
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours := os.NewFile(uintptr(fds[0]), "console")
	console, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	ours.Close()
	defer console.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	all, err := tools.Processes(m, hypervisor.Ports{Stdio: null, Control: null, Console: os.NewFile(uintptr(fds[1]), "console")})
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	p := all[0]
	var sees []string
	for _, b := range p.Jail.Binds {
		sees = append(sees, b.Source+" "+b.Target)
	}
	const want = "/init /vm/root/openshell-init, /root-dir /vm/root/root, /boot-spec /vm/root/shares/boot, /auth /vm/root/shares/auth, /dev/kvm /dev/kvm"
	if got := strings.Join(sees, ", "); got != want || p.Server || len(p.Files) != 4 {
		t.Errorf("it sees %s", got)
	}
	cfg, err := krunvm.Read(p.Files[krunvm.ConfigFD-3])
	if err != nil || cfg.Root != "/vm/root" || cfg.Init != "/openshell-init" || cfg.MemoryMiB != 256 || cfg.Disk != "" {
		t.Errorf("%+v, %v", cfg, err)
	}
	if _, err := io.WriteString(p.Files[krunvm.ConsoleFD-3], "it boots"); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, len("it boots"))
	if _, err := io.ReadFull(console, said); err != nil || string(said) != "it boots" {
		t.Errorf("%q, %v", said, err)
	}
	m.Image = "/cache/root.erofs"
	image := tools.compose(m)
	cfg2, err := tools.config(m)
	if err != nil {
		t.Fatal(err)
	}
	if cfg, err := krunvm.Read(cfg2); err != nil || cfg.Image != hypervisor.JailImage || slices.ContainsFunc(image.Binds, func(b jail.Bind) bool { return b.Source == "/root-dir" }) {
		t.Errorf("with an image: %+v, %v; it sees %+v", cfg, err, image.Binds)
	}
	hypervisor.CloseAll(p.Files...) // as the process's end does
	if rest, err := io.ReadAll(console); err != nil {
		t.Errorf("the port does not end with the process: %q, %v", rest, err)
	}
}
