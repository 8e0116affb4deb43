package daemon

import (
	"os"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/cmd/openshell-vm/show"
)

// Doctor is the command doctor.
func Doctor() *cli.Command {
	return &cli.Command{
		Name: "doctor", Usage: "show which drivers work on this host, and what the others lack",
		Flags: []cli.Flag{frame.Output()}, Action: doctorAction,
	}
}

func doctorAction(c *cli.Context) error {
	asJSON, err := frame.WantJSON(c)
	if err != nil {
		return err
	}
	if err := cmdline.None(c); err != nil {
		return err
	}
	p := say.NewProgress(os.Stderr)
	client, err := frame.Connect(c.Context, p)
	if err != nil {
		return err
	}
	p.Step("probing the drivers")
	d, err := client.Doctor(c.Context)
	p.Done()
	if err != nil {
		return err
	}
	if asJSON {
		err = show.PrintJSON(c.App.Writer, d)
	} else {
		err = show.PrintDoctor(c.App.Writer, d)
	}
	if err == nil && d.Chosen == "" {
		return say.No
	}
	return err
}
