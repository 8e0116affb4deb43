package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/cmd/openshell-vm/show"
	"openshell-vm/gateway/api"
	"openshell-vm/gateway/config"
)

func configCommand() *cli.Command {
	return &cli.Command{Name: "config", Usage: "the gateway's settings", Subcommands: []*cli.Command{
		{Name: "show", Usage: "show each setting's value and where it comes from",
			Flags: []cli.Flag{frame.Output()}, Action: configShowAction},
		{Name: "check", Usage: "say what is wrong with a file, before a gateway reads it", ArgsUsage: cmdline.OneFile,
			Action: configCheckAction,
			Description: `# The file that a gateway of this environment reads
openshell-vm gateway config check ~/.config/openshell-vm/gateway.toml`},
	}}
}

func reloadCommand() *cli.Command {
	return &cli.Command{Name: "reload", Usage: "read the configuration again; a bad one changes nothing",
		Flags: []cli.Flag{frame.Output()}, Action: reloadAction}
}

func configShowAction(c *cli.Context) error {
	asJSON, err := frame.WantJSON(c)
	if err != nil {
		return err
	}
	if err := cmdline.None(c); err != nil {
		return err
	}
	client, err := frame.Connect(c.Context, say.NewProgress(os.Stderr))
	if err != nil {
		return err
	}
	settings, err := client.Config.Get(c.Context)
	if err != nil {
		return err
	}
	if asJSON {
		return show.PrintJSON(c.App.Writer, settings)
	}
	if settings.Problem != "" {
		say.Warn([]string{settings.Problem + " (the last good settings are in force; " + settings.Hint + ")"})
	}
	say.Warn(settings.Warnings)
	return show.PrintConfig(c.App.Writer, settings)
}

// configCheckAction asks no gateway: with a bad file none may start.
func configCheckAction(c *cli.Context) error {
	name, err := cmdline.One(c)
	if err != nil {
		return err
	}
	path, err := filepath.Abs(name)
	if err != nil {
		return err
	}
	settings, err := config.ReadFile(path)
	var wrong *config.Error
	switch {
	case errors.As(err, &wrong):
		var all []error
		for _, p := range wrong.Problems {
			all = append(all, say.Errorf(p.Hint, "%s", p))
		}
		return errors.Join(all...)
	case err != nil:
		return err
	}
	say.Warn(settings.Warnings())
	_, err = fmt.Fprintf(c.App.Writer, "%s can be used\n", path)
	return err
}

// reloadAction starts no gateway: one that starts reads the configuration.
func reloadAction(c *cli.Context) error {
	asJSON, err := frame.WantJSON(c)
	if err != nil {
		return err
	}
	if err := cmdline.None(c); err != nil {
		return err
	}
	client, err := api.Connect(c.Context)
	if errors.Is(err, api.ErrNotRunning) {
		return say.Errorf("one that starts reads its configuration: "+say.Program+" gateway start", "no gateway runs")
	} else if err != nil {
		return err
	}
	p := say.NewProgress(os.Stderr)
	p.Step("reading the configuration")
	result, err := client.Config.Reload(c.Context)
	p.Done()
	if err != nil {
		return err
	}
	say.Warn(result.Warnings)
	frame.TellUnpublished(result.Failed, result.Waiting)
	if asJSON {
		return show.PrintJSON(c.App.Writer, result)
	}
	return show.PrintReloaded(c.App.Writer, result)
}
