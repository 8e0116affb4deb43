package request

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
)

// portFlags are run's and create's for ports.
func portFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "publish", Aliases: []string{"p"},
			Usage: "let a port of this host lead inside: `[IP:][HOST:]GUEST[/udp]`, " +
				"also FROM-TO for ranges; on 127.0.0.1 unless an IP is given, on a free port unless HOST is (repeatable)"},
	}
}

// readPorts reads --publish's values, in docker's forms.
func readPorts(c *cli.Context, r *api.CreateRequest) error {
	for _, text := range c.StringSlice("publish") {
		some, err := readPort(text)
		if err != nil {
			return err
		}
		r.Ports = append(r.Ports, some...)
	}
	return nil
}

func readPort(text string) ([]api.Port, error) {
	wrong := func(why string) ([]api.Port, error) {
		return nil, say.Errorf("give [IP:][HOST:]GUEST[/udp], such as 8080:80, 127.0.0.1::80 or [::1]:8000-8010:8000-8010",
			"--publish %q: %s", text, why)
	}
	rest, protocol, _ := strings.Cut(text, "/")
	switch protocol {
	case "", "tcp":
		protocol = ""
	case api.ProtocolUDP:
	default:
		return wrong("the protocol is tcp or udp")
	}
	ip, hosts, guests, err := splitPort(rest)
	if err != nil {
		return wrong(err.Error())
	}
	first, last, ok := portRange(guests)
	if !ok {
		return wrong(fmt.Sprintf("%q is no port", guests))
	}
	from, to := uint16(0), uint16(0)
	if hosts == "0" { // docker's other word for a free one
		hosts = ""
	}
	if hosts != "" {
		if from, to, ok = portRange(hosts); !ok {
			return wrong(fmt.Sprintf("%q is no port", hosts))
		}
		if to-from != last-first {
			return wrong("the two ranges have different lengths")
		}
	}
	var all []api.Port
	for i := 0; i <= int(last-first); i++ {
		p := api.Port{HostIP: ip, Guest: first + uint16(i), Protocol: protocol}
		if hosts != "" {
			p.Host = from + uint16(i)
		}
		all = append(all, p)
	}
	return all, nil
}

// splitPort takes [IP:][HOST:]GUEST apart. An address of IPv6 stands in brackets.
func splitPort(text string) (ip, hosts, guests string, err error) {
	if after, bracketed := strings.CutPrefix(text, "["); bracketed {
		var closed bool
		if ip, text, closed = strings.Cut(after, "]:"); !closed {
			return "", "", "", errors.New("the address ends with ]: and a port")
		}
	} else if parts := strings.Split(text, ":"); len(parts) == 3 {
		ip, text = parts[0], parts[1]+":"+parts[2]
	} else if len(parts) > 3 {
		return "", "", "", fmt.Errorf("there are too many colons; an IPv6 address stands in [ ]")
	}
	hosts, guests, both := strings.Cut(text, ":")
	if !both {
		hosts, guests = "", text
	}
	if strings.Contains(guests, ":") {
		return "", "", "", fmt.Errorf("there are too many colons")
	}
	if _, bad := netip.ParseAddr(ip); ip != "" && bad != nil {
		return "", "", "", fmt.Errorf("%q is no IP address", ip)
	}
	return ip, hosts, guests, nil
}

func portRange(text string) (first, last uint16, ok bool) {
	from, to, ranged := strings.Cut(text, "-")
	if !ranged {
		to = from
	}
	a, err := strconv.ParseUint(from, 10, 16)
	b, bad := strconv.ParseUint(to, 10, 16)
	return uint16(a), uint16(b), err == nil && bad == nil && a > 0 && a <= b
}
