//go:build e2e

package nat

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/driverstest/testhost"
	"openshell-vm/drivers/vm/initramfs"
	"openshell-vm/drivers/vm/network"
	"openshell-vm/drivers/vm/network/policy"
)

// measured is how many bytes go each way.
const measured = 1_000_000_000

// BenchmarkNetwork measures a guest's network on QEMU, with this network at several MTUs,
// with QEMU's own (slirp), and with passt where it is installed: MB/s to the guest ("give")
// and from it ("take"), over one connection, with a server on this host. The same is done in
// a container of the test engine's Docker, if that runs.
func BenchmarkNetwork(b *testing.B) {
	kernel, err := initramfs.FindKernel(initramfs.Search{Explicit: os.Getenv(initramfs.KernelEnv)})
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	guest, archive := filepath.Join(dir, "guest"), filepath.Join(dir, "initramfs")
	build := exec.Command("go", "build", "-o", guest, "./testdata/guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v %s", err, out)
	}
	f, err := os.Create(archive)
	if err != nil {
		b.Fatal(err)
	}
	if err := initramfs.Write(f, kernel, guest); err != nil {
		b.Fatal(err)
	}
	f.Close()
	witness := testhost.Witness(b, dir)
	b.Run("docker", func(b *testing.B) {
		for range b.N {
			inDocker(b, witness)
		}
	})
	port := benchServer(b, "", witness)
	for _, backend := range backends(b, port) {
		b.Run(backend.name, func(b *testing.B) {
			for range b.N {
				backend.measure(b, kernel.Image, archive)
			}
		})
	}
}

// inDocker measures a container on Docker's own network.
func inDocker(b *testing.B, witness string) {
	dir := os.Getenv("OPENSHELL_ENGINES") // where the engine sees it
	if _, err := os.Stat(filepath.Join(dir, "docker.pid")); dir == "" || err != nil {
		b.Skip("no test engine runs: scripts/engines start docker")
	}
	shown := filepath.Join(dir, "bench-witness")
	program, err := os.ReadFile(witness)
	if err := errors.Join(err, os.WriteFile(shown, program, 0o755)); err != nil {
		b.Fatal(err)
	}
	defer os.Remove(shown)
	address := testhost.Address + ":" + benchServer(b, filepath.Join(dir, "docker.net"), witness)
	for _, what := range []string{"give", "take"} {
		out, err := exec.Command("docker", "-H", "unix://"+filepath.Join(dir, "docker.sock"), "run", "--rm", "-v", shown+":/witness:ro", testhost.Image,
			"/witness", "net", what, fmt.Sprint(measured), address).CombinedOutput()
		if err != nil {
			b.Fatalf("%v %s", err, out)
		}
		_, rate, _ := strings.Cut(string(out), ": ")
		var speed float64
		if _, err := fmt.Sscan(rate, &speed); err != nil {
			b.Fatalf("%v %s", err, out)
		}
		b.ReportMetric(speed, what+"-MB/s")
	}
}

// benchServer starts the witness's server in a network namespace, and returns its port.
func benchServer(b *testing.B, netns, witness string) string {
	cmd := exec.Command(witness, "net", "serve", "0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := testhost.InNetns(netns, cmd.Start); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	go lines.WriteTo(bytes.NewBuffer(nil))
	return strings.TrimSpace(strings.TrimPrefix(line, "ready "))
}

// backend is one network for QEMU's card.
type backend struct {
	name   string
	netdev func(b *testing.B) (option string, files []*os.File)
	guest  string // ADDRESS,GATEWAY
	mtu    int
	server string
}

func backends(b *testing.B, port string) (all []backend) {
	for _, mtu := range []int{1500, 24576, 32000} {
		all = append(all, backend{name: fmt.Sprintf("ours-%d", mtu), mtu: mtu, server: "203.0.113.5:" + port,
			guest:  network.Addresses.Guest[0].String() + "," + network.Addresses.Gateway[0].Addr().String(),
			netdev: func(b *testing.B) (string, []*os.File) { return ours(b, mtu, port) }})
	}
	all = append(all, backend{name: "slirp", mtu: 1500, guest: "10.0.2.15/24,10.0.2.2", server: "10.0.2.2:" + port,
		netdev: func(*testing.B) (string, []*os.File) { return "user,id=net", nil }})
	if _, err := exec.LookPath("passt"); err == nil {
		for _, mtu := range []int{1500, 65520} {
			all = append(all, backend{name: fmt.Sprintf("passt-%d", mtu), mtu: mtu, guest: "10.7.0.2/24,10.7.0.1", server: "10.7.0.1:" + port, netdev: passt})
		}
	}
	return all
}

func socketpair(b *testing.B) (*os.File, *os.File) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	return os.NewFile(uintptr(fds[0]), "wire"), os.NewFile(uintptr(fds[1]), "wire")
}

const streamFD = "stream,id=net,server=off,addr.type=fd,addr.str=3"

func ours(b *testing.B, mtu int, port string) (string, []*os.File) {
	near, far := socketpair(b)
	n, err := New(network.Config{MTU: mtu}, near, func(network.ToMonitor) {})
	if err != nil {
		b.Fatal(err)
	}
	near.Close()
	n.policy.Host = func(addr netip.Addr) error {
		if outside.Contains(addr) {
			return nil
		}
		return policy.Live(addr)
	}
	n.dial = func(ctx context.Context, protocol policy.Protocol, to netip.AddrPort) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, string(protocol), "127.0.0.1:"+port)
	}
	go n.Run()
	return streamFD, []*os.File{far}
}

func passt(b *testing.B) (string, []*os.File) {
	near, far := socketpair(b)
	cmd := exec.Command("passt", "--fd", "3", "--foreground", "--quiet", "--runas", "0", "-a", "10.7.0.2", "-n", "24", "-g", "10.7.0.1")
	cmd.ExtraFiles = []*os.File{near}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	near.Close()
	b.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return streamFD, []*os.File{far}
}

func (k backend) measure(b *testing.B, kernel, archive string) {
	option, files := k.netdev(b)
	cmd := exec.Command("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "512M", "-serial", "stdio",
		"-kernel", kernel, "-initrd", archive,
		"-append", fmt.Sprintf("console=ttyS0 quiet loglevel=4 panic=-1 no_timer_check measure=%s,%d,%s,%d", k.guest, k.mtu, k.server, measured),
		"-netdev", option, "-device", "virtio-net-pci,netdev=net,romfile=")
	cmd.ExtraFiles = files
	out, err := cmd.CombinedOutput()
	for _, f := range files {
		f.Close()
	}
	if err != nil {
		b.Fatalf("%v %s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		var what string
		var rate float64
		if n, _ := fmt.Sscan(line, &what, &rate); n == 2 && (what == "give" || what == "take") {
			b.ReportMetric(rate, what+"-MB/s")
		}
	}
	if !bytes.Contains(out, []byte("take ")) {
		b.Errorf("it did not measure: %s", out)
	}
}
