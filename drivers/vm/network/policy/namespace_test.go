package policy

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// insideEnv is set in a test process that has a network namespace of its own.
const insideEnv = "OPENSHELL_TEST_NAMESPACE"

// TestThisHostsNetworks builds a host's network: an uplink that is a veth (as in a
// container) with its neighbours, a bridge with a container, a bridge that is an uplink's
// other side, and addresses that appear later. It runs in a namespace of its own.
func TestThisHostsNetworks(t *testing.T) {
	if os.Getenv(insideEnv) == "" {
		inNamespace(t)
		return
	}
	ip(t, "link set lo up", "link add up0 type veth peer name up1", "link set up0 up", "link set up1 up",
		"addr add 10.1.0.2/24 dev up0", "addr add 2001:db8:1::2/64 dev up0 nodad",
		"route add default via 10.1.0.1", "-6 route add default via 2001:db8:1::1",
		"link add docker0 type bridge", "link set docker0 up", "addr add 172.17.0.1/16 dev docker0", "addr add 2001:db8:17::1/64 dev docker0 nodad",
		"link add c0 type veth peer name c1", "link set c0 master docker0", "link set c0 up", "link set c1 up",
		"link add pod0 type veth peer name pod1", "link set pod0 up", "link set pod1 up", "route add 10.42.0.7/32 dev pod0",
		"link add dummy0 link up0 type macvlan", "link set dummy0 up", "addr add 10.3.0.1/24 dev dummy0", "route add 10.8.0.0/16 via 172.17.0.9",
		"route add local 10.77.0.0/16 dev lo", "route add blackhole 10.66.0.0/16", "route add unreachable 10.67.0.0/16")
	for text, want := range map[string]string{
		"8.8.8.8": "", "2001:db8:99::1": "", "10.1.0.9": "", "2001:db8:1::9": "", // the internet, and the uplink's neighbours
		"10.3.0.9": "", // a network of another kind
		"10.8.0.1": "", // behind a router on a bridge
		"10.1.0.2": theHost, "172.17.0.1": theHost, "2001:db8:1::2": theHost, "2001:db8:17::1": theHost, "10.3.0.1": theHost,
		"10.77.1.2":  theHost, // by a route alone
		"172.17.0.5": "other sandboxes", "2001:db8:17::5": "other sandboxes", "10.42.0.7": "other sandboxes",
		"10.1.0.255": "broadcast", "172.17.255.255": "broadcast",
	} {
		err := Live(netip.MustParseAddr(text))
		if want == "" && err != nil || want != "" && (!isRefusal(err) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	for _, text := range []string{"10.66.0.1", "10.67.0.1"} {
		if err := Live(netip.MustParseAddr(text)); err == nil {
			t.Errorf("%s has a way", text)
		}
	}
	ip(t, "addr add 10.3.0.50/24 dev dummy0") // from now on it is the host's
	if err := Live(netip.MustParseAddr("10.3.0.50")); !isRefusal(err) {
		t.Errorf("an address that appeared: %v", err)
	}
	ip(t, "route del default", "link set docker0 down")
	if err := Live(netip.MustParseAddr("8.8.8.8")); !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("without a way: %v", err)
	}
	if err := Live(netip.MustParseAddr("10.1.0.9")); !isRefusal(err) { // nobody can tell any more that this is the way out
		t.Errorf("a veth that leads nowhere: %v", err)
	}
}

// inNamespace runs this test once more, in a user and network namespace.
func inNamespace(t *testing.T) {
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip(err)
	}
	probe := exec.Command("/bin/true")
	probe.SysProcAttr = namespaces()
	if err := probe.Run(); err != nil {
		t.Skipf("this host makes no namespaces: %v", err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env, cmd.SysProcAttr = append(os.Environ(), insideEnv+"=1"), namespaces()
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Error(err)
	}
}

func namespaces() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
}

func ip(t *testing.T, commands ...string) {
	t.Helper()
	for _, c := range commands {
		out, err := exec.Command("ip", strings.Fields(c)...).CombinedOutput()
		if err != nil && strings.Contains(string(out), "Unknown device type") {
			t.Skipf("this kernel has not loaded what this needs: ip %s", c)
		}
		if err != nil {
			t.Fatalf("ip %s: %v %s", c, err, out)
		}
	}
}
