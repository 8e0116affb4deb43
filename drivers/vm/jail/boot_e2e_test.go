//go:build e2e && amd64

package jail

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/driverstest/capture"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/initramfs"
	"openshell-vm/drivers/vm/jail/jailtest"
)

// daemon is one kind of virtiofsd.
type daemon struct {
	name, path string
	profile    Profile
	args       []string
}

// daemons returns the virtiofsds that must work: Debian 12's and Debian 13's.
func daemons(rust string) []daemon {
	return []daemon{
		{"C", "/usr/lib/qemu/virtiofsd", ChrootServer, []string{"--fd=3", "-f", "--rlimit-nofile=0",
			"-o", "source=/shared", "-o", "cache=none", "-o", "sandbox=chroot", "-o", "modcaps=" + ChrootServerCaps}},
		{"Rust", rust, FileServer, []string{"--fd=3", "--rlimit-nofile=0", "--shared-dir=/shared", "--cache=never",
			"--sandbox=none", "--inode-file-handles=never", "--announce-submounts", "--modcaps=" + ChrootServerCaps}},
	}
}

const rustEnv = "OPENSHELL_RUST_VIRTIOFSD"

// rustVirtiofsd returns the Rust virtiofsd that the environment names, or the system's. If it is
// required and there is none, the script gets it.
func rustVirtiofsd(t *testing.T) string {
	const system = "/usr/libexec/virtiofsd"
	if path := os.Getenv(rustEnv); path != "" {
		return path
	}
	if _, err := os.Stat(system); err == nil || os.Getenv("E2E_REQUIRE") != "1" {
		return system
	}
	dir := jailtest.OpenDir(t)
	if out, err := exec.Command("../../../scripts/rust-virtiofsd", dir).CombinedOutput(); err != nil {
		t.Fatalf("get a Rust virtiofsd: %v\n%s", err, out)
	}
	t.Setenv(rustEnv, dir+"/virtiofsd")
	return dir + "/virtiofsd"
}

func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("E2E_REQUIRE") == "1" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// TestGuest boots a guest by QEMU in a jail, for each kind of virtiofsd. The guest mounts a share from
// a virtiofsd in another jail.
func TestGuest(t *testing.T) {
	emulator, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		missing(t, err.Error())
	}
	archive := os.Getenv("JAIL_TEST_INITRAMFS") // made by root for the ordinary user
	kernel, err := initramfs.FindKernel(initramfs.Search{})
	if err != nil {
		missing(t, err.Error())
	}
	if archive == "" {
		archive = buildInitramfs(t, kernel)
		t.Setenv("JAIL_TEST_INITRAMFS", archive)
	}
	rust := rustVirtiofsd(t)
	jailtest.AsBoth(t, func(t *testing.T) {
		for _, d := range daemons(rust) {
			t.Run(d.name, func(t *testing.T) {
				if _, err := os.Stat(d.path); err != nil {
					missing(t, err.Error())
				}
				if !bootWith(t, d, emulator, kernel.Image, archive) { // as boots hang now and then on an emulated processor
					t.Log("the boot is tried once more")
					if !bootWith(t, d, emulator, kernel.Image, archive) {
						t.Error("no guest in time, twice")
					}
				}
			})
		}
	})
}

func buildInitramfs(t *testing.T, kernel initramfs.Kernel) string {
	dir := jailtest.OpenDir(t)
	init := filepath.Join(dir, "init")
	cmd := exec.Command("go", "build", "-o", init, "./testdata/guest")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the guest's init: %v\n%s", err, out)
	}
	f, err := os.Create(filepath.Join(dir, "initramfs"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := initramfs.Write(f, kernel, init); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// bootWith boots a guest and judges it. It returns false if the guest said nothing in time.
func bootWith(t *testing.T, d daemon, emulator, kernel, archive string) (booted bool) {
	share := t.TempDir()
	jailtest.FillShare(t, share)
	submount(t, share)
	listening, connected := socketPair(t)
	server := Config{
		Name: fmt.Sprintf("server-%d", os.Getpid()), Profile: d.profile, Path: d.path, Args: d.args,
		Binds: append(program(t, d.path), Bind{Source: share, Target: "/shared"}), Masks: []string{"/shared/hidden"},
		Devices: []string{"/dev/null", "/dev/urandom"}, Proc: true, Tasks: 64,
	}
	var said capture.Buffer
	fs, fsReport := start(t, server, func(c *Cmd) { c.Stdout, c.Stderr = &said, &said }, listening)
	defer end(fs)
	vmm := Config{
		Name: fmt.Sprintf("qemu-%d", os.Getpid()), Profile: Strict, Path: emulator, Args: emulatorArgs(),
		Binds: append(program(t, emulator, "/usr/lib/x86_64-linux-gnu/qemu/accel-tcg-x86_64.so"),
			Bind{Source: "/usr/share/qemu", Target: "/usr/share/qemu"}, Bind{Source: "/usr/share/seabios", Target: "/usr/share/seabios"},
			Bind{Source: kernel, Target: "/vm/kernel"}, Bind{Source: archive, Target: "/vm/initramfs"}),
		Devices: []string{"/dev/null", "/dev/urandom"}, Tasks: 128,
	}
	var console capture.Buffer
	qemu, report := start(t, vmm, func(c *Cmd) { c.Stdout, c.Stderr = &console, &console }, connected)
	ended := make(chan error, 1)
	go func() { ended <- qemu.Wait() }()
	if !console.Await("GUEST READ", patience) {
		qemu.Process.Kill()
		<-ended
		t.Logf("no guest in time\nvirtiofsd: %s\nconsole: %s", said.String(), console.String())
		return false
	}
	checkServing(t, d, fs.Process.Pid, fsReport)
	select {
	case err := <-ended:
		t.Logf("QEMU ended: %v", err)
	case <-time.After(patience):
		qemu.Process.Kill()
		t.Errorf("QEMU did not end")
	}
	t.Logf("%s", guestLines(console.String()))
	checkGuest(t, console.String())
	for _, r := range []Report{fsReport, report} {
		text, _ := json.Marshal(struct {
			Profile          Profile
			Namespaces, Caps []string
			ABI              int
			Missing          []Gap
			Lacks            []string
			NewProcesses     bool
		}{r.Profile, r.Namespaces, r.Capabilities, r.LandlockABI, r.Missing, r.ProfileLacks, r.NewProcesses})
		t.Logf("%s", text)
	}
	return true
}

// checkServing wants the C and the Rust daemon to serve without capabilities. Only a thread of the C
// one that does not serve may keep some.
func checkServing(t *testing.T, d daemon, pid int, r Report) {
	want := seen(r)
	want.Sockets, want.Pipes = 2, 1 // the listening one and QEMU's; its output
	if d.profile == ChrootServer {
		want.Root, want.Kept = "/shared", 1<<unix.CAP_SETPCAP|1<<unix.CAP_SYS_CHROOT
	}
	if os.Geteuid() == 0 {
		want.Paths = append(want.Paths, "/shared/sub") // see submount
	}
	jailtest.Check(t, pid, want)
}

func checkGuest(t *testing.T, console string) {
	for _, want := range []string{`GUEST READ "content" <nil>`, "no such file or directory", "GUEST END"} {
		if !strings.Contains(console, want) {
			t.Errorf("the guest did not say %q", want)
		}
	}
	tried := 0
	for line := range strings.Lines(console) {
		if _, result, ok := strings.Cut(line, "GUEST TRY "); ok {
			tried++
			if !strings.Contains(result, "read-only file system") {
				t.Errorf("the guest's attempt was not refused as read-only: %s", result)
			}
		}
	}
	if tried != 8 {
		t.Errorf("the guest tried %d times", tried)
	}
}

func guestLines(console string) string {
	var b strings.Builder
	for line := range strings.Lines(console) {
		if strings.Contains(line, "GUEST") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func program(t *testing.T, path string, plugins ...string) []Bind {
	binds, err := Program(t.Context(), path, plugins...)
	if err != nil {
		t.Fatal(err)
	}
	return binds
}

// socketPair makes a listening socket, and one that is connected to it.
func socketPair(t *testing.T) (listening, connected *os.File) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if listening, err = l.File(); err != nil {
		t.Fatal(err)
	}
	if connected, err = c.File(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listening.Close(); connected.Close() })
	return listening, connected
}

func emulatorArgs() []string {
	return []string{
		"-nodefaults", "-no-user-config", "-nographic", "-no-reboot",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-machine", "q35,memory-backend=mem", "-accel", "tcg,thread=multi", "-cpu", "max",
		"-m", "256M", "-object", "memory-backend-memfd,id=mem,share=on,size=256M",
		"-kernel", "/vm/kernel", "-initrd", "/vm/initramfs", "-append", "console=ttyS0 panic=-1 reboot=t quiet",
		"-serial", "stdio",
		"-chardev", "socket,id=fs,fd=3", "-device", "vhost-user-fs-pci,chardev=fs,tag=" + guest.TagShares,
	}
}
