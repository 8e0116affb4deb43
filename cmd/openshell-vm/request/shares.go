package request

import (
	"path"
	"strings"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
)

func shareFlags() []cli.Flag {
	return []cli.Flag{
		cmdline.Names{Of: cmdline.ShareNames, StringSliceFlag: &cli.StringSliceFlag{Name: "share",
			Usage: "show it the share `NAME[:/path]` of share create, read-only, at " + api.SharesDir +
				"/NAME or at the path (repeatable)"}},
		&cli.StringFlag{Name: "at", Usage: "show it its own share, with the token, at `PATH`", DefaultText: "/etc/openshell/auth"},
	}
}

// readShares reads where shares are shown, and which.
func readShares(c *cli.Context, r *api.CreateRequest) error {
	if r.At = c.String("at"); c.IsSet("at") && !path.IsAbs(r.At) {
		return say.Errorf("give an absolute path in the sandbox: --at /home/agent/.ssh", "--at %q is no absolute path", r.At)
	}
	for _, text := range c.StringSlice("share") {
		name, target, given := strings.Cut(text, ":")
		access := ""
		if i := strings.LastIndex(target, ":"); i >= 0 {
			target, access = target[:i], target[i+1:]
		}
		const hint = "write --share NAME, or --share NAME:/path/in/the/sandbox"
		switch {
		case access == "rw":
			return say.Errorf("leave :rw out; share put and share set change what is in it",
				"--share %q: a share is read-only inside", text)
		case name == "" || given && !path.IsAbs(target) || access != "" && access != "ro":
			return say.Errorf(hint, "--share %q is malformed", text)
		}
		r.Shares = append(r.Shares, api.ShownShare{Name: name, Target: target})
	}
	return nil
}
