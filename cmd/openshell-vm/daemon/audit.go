package daemon

import (
	"os"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/say"
)

func auditCommand() *cli.Command {
	return &cli.Command{
		Name: "audit", Usage: "show what was done with tokens and keys, a JSON object a line",
		Flags:  []cli.Flag{frame.Bool("go on with what happens", "follow", "f")},
		Action: auditAction,
		Description: `# Which tokens a sandbox has had, and which keys signed them
openshell-vm gateway audit | grep '"name":"box"'

# Each token that was made for a share, noted before anybody can read it; "publish" says that it is there
openshell-vm gateway audit | grep '"what":"mint"'

# What programs in sandboxes asked for; of one that asks without end, the number
openshell-vm gateway audit | grep '"what":"exchange"'

# Since when a key signs; "rotate" says when it was made, "retire" since when it verifies no more
openshell-vm gateway audit | grep '"what":"sign"'

# What is refused, as it happens
openshell-vm gateway audit -f | grep '"what":"refusal"'`,
	}
}

func auditAction(c *cli.Context) error {
	if err := cmdline.None(c); err != nil {
		return err
	}
	client, err := frame.Connect(c.Context, say.NewProgress(os.Stderr))
	if err != nil {
		return err
	}
	return client.Audit(c.Context, c.Bool("follow"), c.App.Writer)
}
