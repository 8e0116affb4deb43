package vm

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/monitor"
	"openshell-vm/drivers/vm/network"
	"openshell-vm/drivers/vm/network/resolver"
)

// resolveNetwork refuses what can't work of a VM's network, a port that is taken among it,
// and fills in that it has one.
func (d *Driver) resolveNetwork(spec drivers.Spec) (drivers.Spec, error) {
	spec.Network = cmp.Or(spec.Network, drivers.NetworkUser)
	switch spec.Network {
	case drivers.NetworkNone:
		if len(spec.Ports)+len(spec.VM.AllowHost)+len(spec.VM.AllowEgress) > 0 {
			return spec, &drivers.Error{Op: "connect the VM", Err: errors.New("with --network none it has no network"),
				Hint: "leave out --network none, or the ports and what is allowed"}
		}
		return spec, nil
	case drivers.NetworkUser:
	default:
		return spec, &drivers.Error{Op: "connect the VM", Err: fmt.Errorf("there is no network %q", spec.Network),
			Hint: "use one of user, none"}
	}
	if _, err := os.Stat(d.host.Program(network.Program)); err != nil {
		return spec, &drivers.Error{Op: "connect the VM", Err: err,
			Hint: "install " + network.Program + " beside openshell-gateway, or use --network none"}
	}
	if n := len(spec.VM.AllowEgress); n > network.MaxEgress {
		return spec, &drivers.Error{Op: "connect the VM",
			Err:  fmt.Errorf("%d names are allowed, and at most %d can be", n, network.MaxEgress),
			Hint: "use *.DOMAIN for the names below a domain"}
	}
	for _, text := range spec.VM.AllowEgress {
		if _, err := network.ParseEgress(text); err != nil {
			return spec, &drivers.Error{Op: "allow " + text, Err: err,
				Hint: "give NAME[:PORT], such as api.example.com:443 or *.example.com"}
		}
	}
	return choosePorts(spec)
}

// choosePorts refuses a port of the host that is taken, and chooses one where none was
// asked for.
func choosePorts(spec drivers.Spec) (drivers.Spec, error) {
	spec.Ports = slices.Clone(spec.Ports)
	for i, f := range forwards(spec) {
		listener, port, err := f.Open()
		if err != nil {
			return spec, err
		}
		defer listener.Close() // only at the end: two can't be the same
		spec.Ports[i].Host = port
	}
	return spec, nil
}

// forwards are the ports of the host that lead into the guest.
func forwards(spec drivers.Spec) (all []network.Forward) {
	for _, p := range spec.Ports {
		all = append(all, network.Forward{
			Listen:   net.JoinHostPort(cmp.Or(p.HostIP, "127.0.0.1"), strconv.Itoa(int(p.Host))),
			Protocol: cmp.Or(p.Protocol, "tcp"), Guest: p.Guest,
		})
	}
	return all
}

// connect puts the VM's network into the monitor's configuration and the guest's boot
// spec. A sandbox of an older version has none.
func (d *Driver) connect(spec drivers.Spec, cfg *monitor.Config, boot *guest.BootSpec) {
	if spec.Network != drivers.NetworkUser {
		return
	}
	mtu := d.hypervisors.named(spec.VM.Hypervisor).MTU()
	cfg.MAC, cfg.NetworkProgram = network.MAC(spec.ID).String(), d.host.Program(network.Program)
	cfg.Network = &network.Config{
		MTU: mtu, AllowHost: spec.VM.AllowHost, AllowEgress: spec.VM.AllowEgress, Forwards: forwards(spec),
	}
	boot.Network = &guest.Network{MAC: cfg.MAC, MTU: mtu, Resolv: guestResolv(network.ReadResolv(network.ResolvConf))}
	for i := range network.Addresses.Guest {
		boot.Network.Addresses = append(boot.Network.Addresses, network.Addresses.Guest[i].String())
		boot.Network.Gateways = append(boot.Network.Gateways, network.Addresses.Gateway[i].Addr().String())
		boot.Network.Hosts += network.Addresses.Host[i].Addr().String() + "\t" + network.HostName + "\n"
	}
}

// guestResolv is the guest's resolv.conf: the network process answers there as the host's
// servers do, and the rest is the host's.
func guestResolv(hosts string) string {
	conf := resolver.ParseConf(hosts)
	text := "nameserver " + network.Addresses.Gateway[0].Addr().String() + "\n"
	if len(conf.Search) > 0 {
		text += "search " + strings.Join(conf.Search, " ") + "\n"
	}
	if len(conf.Options) > 0 {
		text += "options " + strings.Join(conf.Options, " ") + "\n"
	}
	return text
}
