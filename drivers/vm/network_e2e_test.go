//go:build e2e

package vm

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest"
	"openshell-vm/drivers/driverstest/capture"
	"openshell-vm/drivers/driverstest/testhost"
	"openshell-vm/drivers/vm/hypervisor/qemu"
	"openshell-vm/drivers/vm/network"
)

// worldEnv is set in the process that is a host with a network of its own.
const worldEnv = "OPENSHELL_TEST_WORLD"

const (
	serverPort = "7000"
	serverIP   = "198.51.100.1" // by way of the host's gateway
)

// TestNetwork starts one VM on a host of its own (a network and a mount namespace), beside
// which are a server, to be reached through a router; a bridge with another sandbox; and
// what a guest must not reach, each with somebody who listens.
func TestNetwork(t *testing.T) {
	if os.Getenv(worldEnv) == "" {
		inWorld(t)
		return
	}
	witness := testhost.Witness(t, t.TempDir())
	server, bridged, own := makeWorld(t, witness)
	d, spec := place(t)
	needQEMU(t, d)
	open := ownPort(t, own)
	spec.Mounts = driverstest.Mounts(t, filepath.Dir(witness), "/w")
	spec.VM.Hypervisor, spec.VM.AllowHost = qemu.Name, []uint16{open}
	spec.Ports = []drivers.Port{{Guest: 7000}, {Guest: 7000, Protocol: "udp"}}
	spec = up(t, d, spec, "cp /w/witness /new; mv /new /witness; exec /witness net serve 7000 >/dev/null")
	runInside(t, d, spec, "sh", "-c", "until [ -e /witness ] && netstat -ltn | grep -q :7000; do sleep 0.1; done")

	t.Run("what the guest has", func(t *testing.T) {
		out := inside(t, d, spec, "net", "links")
		for _, want := range []string{"lo 127.0.0.1/8", "eth0 192.168.127.2/24", "eth0 " + network.Addresses.Guest[1].String(), "default"} {
			if !strings.Contains(out, want) {
				t.Errorf("it has no %s: %s", want, out)
			}
		}
		resolv := runInside(t, d, spec, "cat", "/etc/resolv.conf", "/etc/hosts")
		for _, want := range []string{"nameserver 192.168.127.1", "search corp.test", network.HostName, spec.Name} {
			if !strings.Contains(resolv, want) {
				t.Errorf("there is no %s in %s", want, resolv)
			}
		}
	})
	t.Run("what it may reach", func(t *testing.T) { reached(t, d, spec, open) })
	t.Run("what it must not reach", func(t *testing.T) { forbidden(t, d, spec, server, bridged, own) })
	t.Run("ports of the host", func(t *testing.T) { published(t, spec) })
	t.Run("many connections", func(t *testing.T) {
		out := inside(t, d, spec, "net", "many", "1000", serverIP+":"+serverPort)
		if !strings.Contains(out, "1000 connections") {
			t.Error(out)
		}
		t.Log(out)
	})
	t.Run("the hypervisor stopped", func(t *testing.T) { stoppedVM(t, d, spec) })
	t.Run("the process killed", func(t *testing.T) { killedNetwork(t, d, spec) })
	t.Run("the host's resolver changes", func(t *testing.T) {
		check(t, os.WriteFile("/etc/resolv.conf.new", []byte("nameserver 203.0.113.1\n"), 0o644), os.Rename("/etc/resolv.conf.new", "/etc/resolv.conf"))
		waitFor(t, func() bool {
			return strings.Contains(inside(t, d, spec, "net", "dial", "tcp", "other.test:"+serverPort), ": ok") == false
		})
	})
}

func check(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// inWorld runs this test once more, in namespaces of its own.
func inWorld(t *testing.T) {
	if os.Geteuid() != 0 {
		testhost.Missing(t, "only root makes a network for the test")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=9m")
	cmd.Env = append(os.Environ(), worldEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Error(err)
	}
}

// neighbour is a process that serves in some network, and what it saw.
type neighbour struct {
	cmd *exec.Cmd
	mu  sync.Mutex
	saw []string
	up  chan string
}

// seen returns what came to the neighbour.
func (p *neighbour) seen() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.saw)
}

func (p *neighbour) ip(t *testing.T, commands ...string) {
	t.Helper()
	for _, c := range commands {
		args := append([]string{"-t", fmt.Sprint(p.cmd.Process.Pid), "-n", "ip"}, strings.Fields(c)...)
		if out, err := exec.Command("nsenter", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v %s", c, err, out)
		}
	}
}

// serves starts a server; apart means in a network of its own.
func serves(t *testing.T, witness string, apart bool, args ...string) *neighbour {
	t.Helper()
	p := &neighbour{cmd: exec.Command(witness, append([]string{"net", "serve"}, args...)...), up: make(chan string, 1)}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if apart {
		p.cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET
	}
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	check(t, err, p.cmd.Start())
	t.Cleanup(func() { p.cmd.Process.Kill(); p.cmd.Wait() })
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if port, ok := strings.CutPrefix(lines.Text(), "ready "); ok {
				p.up <- port
				continue
			}
			p.mu.Lock()
			p.saw = append(p.saw, lines.Text())
			p.mu.Unlock()
		}
	}()
	return p
}

func ip(t *testing.T, commands ...string) {
	t.Helper()
	for _, c := range commands {
		if out, err := exec.Command("ip", strings.Fields(c)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v %s", c, err, out)
		}
	}
}

// metadata are addresses of metadata services, which the server beyond the router has.
var metadata = []string{"169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"}

// makeWorld makes the networks and starts the servers. The host's uplink is a veth, as in a
// container.
func makeWorld(t *testing.T, witness string) (server, bridged, own *neighbour) {
	t.Helper()
	server = serves(t, witness, true, serverPort, serverIP, "2001:db8:2::1")
	bridged = serves(t, witness, true, serverPort)
	own = serves(t, witness, false, "0")
	pid := server.cmd.Process.Pid
	ip(t, "link set lo up", fmt.Sprintf("link add up0 type veth peer name up1 netns %d", pid),
		"addr add 203.0.113.2/24 dev up0", "addr add 2001:db8:1::2/64 dev up0 nodad", "link set up0 up",
		"link add br0 type bridge", "addr add 172.17.0.1/16 dev br0", "link set br0 up",
		fmt.Sprintf("link add c0 type veth peer name c1 netns %d", bridged.cmd.Process.Pid), "link set c0 master br0", "link set c0 up")
	server.ip(t, "link set lo up", "addr add 203.0.113.1/24 dev up1", "addr add 2001:db8:1::1/64 dev up1 nodad", "link set up1 up",
		"addr add "+serverIP+"/32 dev lo", "addr add 2001:db8:2::1/128 dev lo", "route add default via 203.0.113.2")
	bridged.ip(t, "link set lo up", "addr add 172.17.0.5/16 dev c1", "link set c1 up", "route add default via 172.17.0.1")
	ip(t, "route add default via 203.0.113.1", "-6 route add default via 2001:db8:1::1")
	for _, addr := range metadata {
		family, bits := "-4", "/32"
		if strings.Contains(addr, ":") {
			family, bits = "-6", "/128"
		}
		server.ip(t, family+" addr add "+addr+bits+" dev lo")
		via := map[string]string{"-4": "203.0.113.1", "-6": "2001:db8:1::1"}[family]
		ip(t, family+" route add "+addr+bits+" via "+via)
	}
	resolv := filepath.Join(t.TempDir(), "etc")
	check(t, os.Mkdir(resolv, 0o755), syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
	check(t, exec.Command("cp", "-aT", "/etc", resolv).Run(), syscall.Mount(resolv, "/etc", "", syscall.MS_BIND, ""))
	os.Remove("/etc/resolv.conf")
	check(t, os.WriteFile("/etc/resolv.conf", []byte("nameserver "+serverIP+"\nsearch corp.test\n"), 0o644))
	return server, bridged, own
}

// ownPort waits until the host's own server is there, and returns its port.
func ownPort(t *testing.T, own *neighbour) (port uint16) {
	t.Helper()
	_, err := fmt.Sscan(<-own.up, &port)
	check(t, err)
	own.up <- fmt.Sprint(port)
	return port
}

// inside runs the witness in the guest.
func inside(t *testing.T, d *Driver, spec drivers.Spec, args ...string) string {
	t.Helper()
	return runInside(t, d, spec, append([]string{"/witness"}, args...)...)
}

func runInside(t *testing.T, d *Driver, spec drivers.Spec, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out bytes.Buffer
	code, err := d.Exec(ctx, spec.ID, drivers.Process{Args: args}, drivers.Streams{Stdout: &out, Stderr: &out})
	if code != 0 || err != nil {
		t.Errorf("%v: %d, %v: %s", args, code, err, out.String())
	}
	return out.String()
}

func reached(t *testing.T, d *Driver, spec drivers.Spec, open uint16) {
	out := inside(t, d, spec, "net", "dial",
		"tcp", "www.test:"+serverPort, "tcp", "short:"+serverPort, "tcp", serverIP+":"+serverPort, "tcp", "203.0.113.1:"+serverPort,
		"tcp", "[2001:db8:2::1]:"+serverPort, "udp", serverIP+":"+serverPort, "udp", "[2001:db8:2::1]:"+serverPort,
		"tcp", fmt.Sprintf("%s:%d", network.HostName, open), "tcp", "127.0.0.1:7000", "tcp", spec.Name+":7000")
	if strings.Count(out, ": ok\n") != 10 {
		t.Error(out)
	}
	t.Log(driverstest.ByName(t, "/witness", "www.test:"+serverPort, func(script string) []string {
		return strings.Split(strings.TrimSpace(runInside(t, d, spec, "sh", "-c", script)), "\n")
	}))
}

// forbidden tries what a guest must not reach. Nobody may see anything of it.
func forbidden(t *testing.T, d *Driver, spec drivers.Spec, server, bridged, own *neighbour) {
	before, ownBefore := len(server.seen()), len(own.seen())
	open := ownPort(t, own)
	var targets []string
	for _, addr := range slices.Concat(metadata, []string{"172.17.0.5"}) {
		targets = append(targets, net.JoinHostPort(addr, serverPort))
	}
	for _, addr := range []string{"203.0.113.2", "172.17.0.1", "2001:db8:1::2", "64:ff9b::203.0.113.2", "2002:cb00:7102::1", "0.0.0.1", "203.0.113.255"} {
		targets = append(targets, net.JoinHostPort(addr, fmt.Sprint(open)))
	}
	for _, prefix := range network.Addresses.Host { // of the host's loopback, another port
		targets = append(targets, net.JoinHostPort(prefix.Addr().String(), serverPort))
	}
	began := time.Now()
	for _, protocol := range []string{"tcp", "udp"} {
		tries := []string{"net", "dial"}
		for _, target := range targets {
			tries = append(tries, protocol, target)
		}
		out := inside(t, d, spec, tries...)
		t.Log(out)
		if strings.Contains(out, ": ok") || strings.Count(out, "\n") != len(targets) {
			t.Errorf("%s: not all was refused: %s", protocol, out)
		}
		if protocol == "tcp" && (strings.Contains(out, "timeout") || time.Since(began) > patience/2) {
			t.Errorf("not refused at once, but after %v: %s", time.Since(began), out)
		}
	}
	time.Sleep(200 * time.Millisecond)
	if got := server.seen()[before:]; len(got) > 0 {
		t.Errorf("the server saw %v", got)
	}
	if got := bridged.seen(); len(got) > 0 {
		t.Errorf("another sandbox saw %v", got)
	}
	if got := own.seen()[ownBefore:]; len(got) > 0 {
		t.Errorf("the host saw %v", got)
	}
	waitFor(t, func() bool {
		facts := fmt.Sprint(expectState(t, d, spec.ID, drivers.Running).Details)
		return strings.Contains(facts, "refused") && strings.Contains(facts, "169.254.169.254:"+serverPort)
	})
}

// published uses the ports that were chosen for the guest's, on loopback.
func published(t *testing.T, spec drivers.Spec) {
	for i, protocol := range []string{"tcp", "udp"} {
		conn, err := net.Dial(protocol, fmt.Sprintf("127.0.0.1:%d", spec.Ports[i].Host))
		check(t, err)
		conn.SetDeadline(time.Now().Add(patience))
		message := "hello"
		if protocol == "tcp" {
			fmt.Fprintln(conn, "echo")
		}
		fmt.Fprint(conn, message)
		buf := make([]byte, 10)
		if n, err := conn.Read(buf); err != nil || string(buf[:n]) != message {
			t.Errorf("%s: %q, %v", protocol, buf[:n], err)
		}
		conn.Close()
	}
	_, _, err := (network.Forward{Listen: fmt.Sprintf("127.0.0.1:%d", spec.Ports[0].Host), Protocol: "tcp"}).Open()
	driverstest.Refused(t, err, "the port is taken")
}

// counted waits until what a sandbox uses is known to be at least that much.
func counted(t *testing.T, d *Driver, spec drivers.Spec, least int64) drivers.Usage {
	t.Helper()
	var u drivers.Usage
	waitFor(t, func() (ok bool) {
		var err error
		u, err = d.Usage(t.Context(), spec.ID)
		check(t, err)
		return u.Received != nil && *u.Received >= least && *u.Sent >= least && u.Processes != nil
	})
	if n := *u.Processes; n < 1 || n > 10 {
		t.Errorf("it has %d processes", n)
	}
	return u
}

// stoppedVM stops the hypervisor by a signal. Who asks for a command is told so, and the VM
// goes on as before.
func stoppedVM(t *testing.T, d *Driver, spec drivers.Spec) {
	pid := processes(t, d, spec.ID)[qemu.Name]
	check(t, syscall.Kill(pid, syscall.SIGSTOP))
	defer syscall.Kill(pid, syscall.SIGCONT)
	want := fmt.Sprintf("kill -CONT %d lets it go on", pid)
	waitFor(t, func() bool { return strings.HasSuffix(expectState(t, d, spec.ID, drivers.Running).Reason, want) })
	_, err := d.Exec(t.Context(), spec.ID, drivers.Process{Args: []string{"true"}}, drivers.Streams{})
	if err == nil || !strings.HasPrefix(err.Error(), "the sandbox is stopped: ") || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("a command in a stopped VM: %v", err)
	}
	check(t, syscall.Kill(pid, syscall.SIGCONT))
	runInside(t, d, spec, "true")
}

// killedNetwork kills the network process again and again, while the guest uses it. The
// guest goes on, and its network is there again.
func killedNetwork(t *testing.T, d *Driver, spec drivers.Spec) {
	before := counted(t, d, spec, 20_000_000) // by what it reached
	var out capture.Buffer
	ended := make(chan error, 1)
	go func() {
		_, err := d.Exec(t.Context(), spec.ID, drivers.Process{Args: []string{"/witness", "net", "keep", serverIP + ":" + serverPort}}, drivers.Streams{Stdout: &out})
		ended <- err
	}()
	await(t, &out, "up\n")
	for range 3 {
		before := processes(t, d, spec.ID)["network"]
		check(t, syscall.Kill(before, syscall.SIGKILL))
		waitFor(t, func() bool {
			now := processes(t, d, spec.ID)["network"]
			exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", now))
			return now != before && strings.HasSuffix(exe, network.Program)
		})
	}
	check(t, <-ended)
	if !strings.Contains(out.String(), "ended: ") || !strings.HasSuffix(out.String(), "again\n") {
		t.Errorf("%q", out.String())
	}
	status := expectState(t, d, spec.ID, drivers.Running)
	if facts := fmt.Sprint(status.Details); !strings.Contains(facts, "network ended: signal: killed") {
		t.Errorf("inspect does not tell of it: %s", facts)
	}
	waitFor(t, func() bool {
		return strings.Contains(inside(t, d, spec, "net", "dial", "tcp", "again.test:"+serverPort), ": ok")
	})
	published(t, spec)
	counted(t, d, spec, min(*before.Received, *before.Sent)+1)
}
