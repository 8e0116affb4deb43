package request

import (
	"strconv"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
)

// networkFlags are run's and create's for the network.
func networkFlags() []cli.Flag {
	return []cli.Flag{
		cmdline.Choice{Of: []string{api.NetworkUser, api.NetworkNone}, StringFlag: &cli.StringFlag{
			Name: "network", Aliases: []string{"net"}, DefaultText: "user",
			Usage: "`NETWORK`: user (what this host reaches, but not the host) or none",
		}},
		&cli.StringSliceFlag{Name: "allow-host",
			Usage: "let a VM reach the TCP `PORT` of this host's loopback, as host.openshell.internal (repeatable)"},
		&cli.StringSliceFlag{Name: "allow-egress",
			Usage: "let a VM reach `NAME[:PORT]` and nothing else; *.DOMAIN for all names below it (repeatable)"},
	}
}

func readNetwork(c *cli.Context, r *api.CreateRequest) error {
	r.Network = c.String("network")
	switch r.Network {
	case "", api.NetworkUser, api.NetworkNone:
	default:
		return say.Errorf("give --network user or none; --allow-host PORT lets a VM reach one port of this host",
			"a sandbox has no network of name %s", r.Network)
	}
	for _, text := range c.StringSlice("allow-host") {
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil || port == 0 {
			return say.Errorf("give a number from 1 to 65535", "--allow-host %q is no port", text)
		}
		r.AllowHost = append(r.AllowHost, uint16(port))
	}
	r.AllowEgress = c.StringSlice("allow-egress")
	return nil
}
