package vm

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/monitor"
	"openshell-vm/drivers/vm/network"
)

// withNetwork is a driver beside which openshell-net is installed.
func withNetwork(t *testing.T) *Driver {
	t.Helper()
	d := emptyDriver(t)
	if err := os.MkdirAll(d.cfg.Libexec, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.cfg.Libexec, network.Program), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestResolveNetwork(t *testing.T) {
	d := withNetwork(t)
	for _, text := range []string{"", drivers.NetworkUser} {
		if got, err := d.resolveNetwork(drivers.Spec{Network: text}); err != nil || got.Network != drivers.NetworkUser {
			t.Errorf("%q: %q, %v", text, got.Network, err)
		}
	}
	if got, err := d.resolveNetwork(drivers.Spec{Network: drivers.NetworkNone}); err != nil || got.Network != drivers.NetworkNone {
		t.Errorf("%+v, %v", got, err)
	}
	_, err := emptyDriver(t).resolveNetwork(drivers.Spec{})
	driverstest.Refused(t, err, network.Program)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := uint16(taken.Addr().(*net.TCPAddr).Port)
	for want, spec := range map[string]drivers.Spec{
		`there is no network "host"`: {Network: "host"},
		"it has no network":          {Network: drivers.NetworkNone, VM: drivers.VM{AllowHost: []uint16{1}}},
		"is no name of a host":       {VM: drivers.VM{AllowEgress: []string{"example.com/x"}}},
		"at most 1000 can be":        {VM: drivers.VM{AllowEgress: slices.Repeat([]string{"example.com"}, 1001)}},
		"the port is taken":          {Ports: []drivers.Port{{Host: port, Guest: 80}}},
		"this host has no such":      {Ports: []drivers.Port{{HostIP: "192.0.2.77", Host: port, Guest: 80}}},
	} {
		_, err := d.resolveNetwork(spec)
		driverstest.Refused(t, err, want)
	}
	asked := drivers.Spec{Ports: []drivers.Port{{Guest: 80}, {Guest: 81}, {Guest: 80, Protocol: "udp"}}}
	got, err := d.resolveNetwork(asked)
	if err != nil || got.Ports[0].Host == 0 || got.Ports[2].Host == 0 || got.Ports[0].Host == got.Ports[1].Host || asked.Ports[0].Host != 0 {
		t.Errorf("%+v, %v", got.Ports, err)
	}
}

// TestConnect: what monitor and guest are told; of a sandbox that an older version made,
// nothing.
func TestConnect(t *testing.T) {
	d := withNetwork(t)
	spec := drivers.Spec{ID: "abc", VM: drivers.VM{Hypervisor: "qemu", AllowHost: []uint16{80}, AllowEgress: []string{"a.example"}},
		Ports: []drivers.Port{{Host: 8080, Guest: 80}, {HostIP: "::1", Host: 53, Guest: 53, Protocol: "udp"}}}
	var cfg monitor.Config
	var boot guest.BootSpec
	d.connect(spec, &cfg, &boot)
	if cfg.Network != nil || cfg.MAC != "" || boot.Network != nil {
		t.Errorf("an older version's sandbox: %+v, %+v", cfg, boot.Network)
	}
	spec.Network = drivers.NetworkUser
	d.connect(spec, &cfg, &boot)
	if got := fmt.Sprint(cfg.Network.Forwards); got != "[{127.0.0.1:8080 tcp 80} {[::1]:53 udp 53}]" {
		t.Error(got)
	}
	if cfg.Network.MTU > 32750 || boot.Network.MTU != cfg.Network.MTU || boot.Network.MAC != cfg.MAC || len(boot.Network.Gateways) != 2 ||
		!strings.Contains(boot.Network.Hosts, network.HostName) || !strings.HasPrefix(boot.Network.Resolv, "nameserver 192.168.127.1\n") {
		t.Errorf("%+v, %+v", cfg.Network, boot.Network)
	}
	if got := guestResolv("nameserver 127.0.0.53\nsearch a.example b.example\noptions ndots:3 edns0\n"); got !=
		"nameserver 192.168.127.1\nsearch a.example b.example\noptions ndots:3\n" {
		t.Errorf("%q", got)
	}
}
