package request

import (
	"fmt"
	"net/netip"
	"slices"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/vocab"
)

// maxPorts bounds the ports of one sandbox. Each takes a descriptor while they are chosen.
const maxPorts = 256

// checkPorts refuses ports that no driver could publish.
func checkPorts(q *api.CreateRequest) error {
	invalid := func(hint, format string, args ...any) error {
		return &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf(format, args...), Hint: hint}
	}
	if len(q.Ports) > maxPorts {
		return invalid("publish fewer", "%d ports are more than the %d that a sandbox may have", len(q.Ports), maxPorts)
	}
	for i, p := range q.Ports {
		if ip, err := netip.ParseAddr(p.HostIP); p.HostIP != "" && (err != nil || ip.Zone() != "") {
			return invalid("give an address of this host, or leave it out for 127.0.0.1", "publish a port: %q is no IP address", p.HostIP)
		}
		if p.Guest == 0 || p.Protocol != "" && p.Protocol != api.ProtocolUDP {
			return invalid("give [IP:]HOST:GUEST with an optional /udp", "publish a port: %s is none", p)
		}
		if at := slices.IndexFunc(q.Ports[:i], p.Clashes); at >= 0 {
			return invalid("give each port of the host once",
				"publish a port: %s and %s both want port %d of this host", q.Ports[at], p, p.Host)
		}
	}
	if len(q.Ports) > 0 && q.Network == vocab.NetworkNone {
		return invalid("leave out --network none or --publish", "with the network none no port can be published")
	}
	return nil
}
