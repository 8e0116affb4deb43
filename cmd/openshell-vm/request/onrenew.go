package request

import (
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
)

func onRenewFlags() []cli.Flag {
	return []cli.Flag{&cli.StringFlag{Name: "on-renew", Usage: "once it has seen a renewed token, or another generation of its share, " +
		"send `SIGNAL|COMMAND` to its main process, or run that beside it as exec does: HUP, USR1, 'nginx -s reload'"}}
}

func readOnRenew(c *cli.Context, r *api.CreateRequest) (err error) {
	if c.IsSet("on-renew") {
		r.OnRenew, err = onRenew(c.String("on-renew"))
	}
	return err
}

// onRenew reads SIGNAL or COMMAND. What names a signal is one; a program that is called like a
// signal is named by its path. COMMAND is split into words as a shell would, and no shell runs it.
func onRenew(text string) (r api.OnRenew, err error) {
	if _, ok := api.SignalNumber(text); ok {
		return api.OnRenew{Signal: text}, nil
	}
	if r.Command, err = words("on-renew", text, text); err != nil {
		return r, err
	}
	if len(r.Command) == 0 {
		return r, say.Errorf("write --on-renew HUP, or --on-renew 'PROGRAM ARG…'", "--on-renew is empty")
	}
	if _, err := strconv.Atoi(text); err == nil || len(r.Command) == 1 && strings.HasPrefix(text, "SIG") {
		return r, say.Errorf("give a name such as HUP, or a number between 1 and 64; a program of that name by its path",
			"--on-renew: there is no signal %q", text)
	}
	return r, nil
}
