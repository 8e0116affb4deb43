package main

import (
	"flag"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/daemon"
	"openshell-vm/cmd/openshell-vm/identity"
	"openshell-vm/cmd/openshell-vm/images"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/cmd/openshell-vm/secrets"
	"openshell-vm/cmd/openshell-vm/shares"
	"openshell-vm/cmd/openshell-vm/volumes"
)

// setUp tells the library once what it keeps for all apps of a process.
var setUp = sync.OnceFunc(func() {
	shared := func(name, alias, usage string) sharedFlag {
		return sharedFlag{&cli.BoolFlag{Name: name, Aliases: []string{alias}, Usage: usage, DisableDefaultText: true}}
	}
	cli.HelpFlag = shared("help", "h", "show help")
	cli.VersionFlag = shared("version", "v", "print the version")
	cli.VersionPrinter = func(c *cli.Context) { fmt.Fprintf(c.App.Writer, "%s %s\n", say.Program, version) }
	cli.FlagStringer = flagHelp
})

// sharedFlag is a flag of all apps: each applies a copy, because the library leaves
// in a flag what it has read.
type sharedFlag struct{ *cli.BoolFlag }

func (f sharedFlag) Apply(set *flag.FlagSet) error {
	own := *f.BoolFlag
	return own.Apply(set)
}

// newApp is the program. Each command is made in a file of its own, with its flags, its
// examples and what it does.
func newApp() *cli.App {
	setUp()
	app := &cli.App{
		Name:    say.Program,
		Usage:   "run sandboxes (microVMs, containers) whose token is always fresh",
		Version: version,
		Commands: slices.Concat(
			category("sandboxes", runCommand(), createCommand(), upCommand(), downCommand(), psCommand(), inspectCommand(), logsCommand(),
				execCommand(), cpCommand(), portCommand(), statsCommand(), attachCommand(),
				startCommand(), stopCommand(), restartCommand(), killCommand(),
				waitCommand(), renameCommand(), updateCommand(), rmCommand(), pruneCommand(), eventsCommand()),
			category("images", images.Command()),
			category("shares", shares.Command(), secrets.Command(), watchCommand()),
			category("volumes", volumes.Command()),
			category("gateway", identity.Tokens(), identity.Keys(), identity.Issuer(), daemon.Command(), daemon.Doctor(),
				versionCommand(), completionCommand()),
		),
		// Values may contain commas.
		DisableSliceFlagSeparator: true,
		// Exit codes are Report's work.
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError:   onUsageError,
	}
	settle(app.Commands)
	return app
}

// category puts commands below a heading of the help text.
func category(name string, commands ...*cli.Command) []*cli.Command {
	for _, c := range commands {
		c.Category = name
	}
	return commands
}

// settle gives every command what all have in common. A help command below each
// would take away the words "help" and "h" from what users run and name.
func settle(commands []*cli.Command) {
	for _, c := range commands {
		c.HideHelpCommand = true
		c.OnUsageError = onUsageError
		if len(c.Subcommands) > 0 {
			c.Action = groupAction
		} else {
			c.CustomHelpTemplate = commandHelp
		}
		settle(c.Subcommands)
	}
}

// groupAction answers a group's name alone.
func groupAction(c *cli.Context) error {
	var names []string
	for _, s := range c.Command.Subcommands {
		names = append(names, s.Name)
	}
	return say.Errorf(fmt.Sprintf("%s %s --help explains them", say.Program, c.Command.Name),
		"%s needs a command: %s", c.Command.Name, strings.Join(names, ", "))
}

// durations are the flags that take one.
var durations = regexp.MustCompile(`for --(ttl|leeway|timeout|wait-timeout)\b`)

// onUsageError words what the flag parser says. After Arrange only wrong values are
// left to it.
func onUsageError(c *cli.Context, err error, _ bool) error {
	text := strings.Replace(err.Error(), "for flag -", "for --", 1)
	if durations.MatchString(text) {
		text = strings.Replace(text, ": parse error", ": not a duration such as 90s, 15m or 1h", 1)
	}
	return say.Errorf(fmt.Sprintf("%s %s --help explains it", say.Program, c.Command.Name), "%s", text)
}

// commandHelp is a command's help text. The library's own shows a description
// before the flags. Ours is examples, and stands behind them.
const commandHelp = `NAME:
   {{template "helpNameTemplate" .}}

USAGE:
   {{template "usageTemplate" .}}{{if .Category}}

CATEGORY:
   {{.Category}}{{end}}{{if .VisibleFlags}}

OPTIONS:{{template "visibleFlagTemplate" .}}{{end}}{{if .Description}}

EXAMPLES:
   {{template "descriptionTemplate" .}}{{end}}
`

// flagHelp is a flag's line of a help text: each of its names once.
func flagHelp(f cli.Flag) string {
	d, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return ""
	}
	usage, value := d.GetUsage(), ""
	if before, rest, quoted := strings.Cut(usage, "`"); quoted {
		word, after, _ := strings.Cut(rest, "`")
		usage, value = before+word+after, " "+word
	}
	var names []string
	for _, n := range f.Names() {
		dashes := "--"
		if len(n) == 1 {
			dashes = "-"
		}
		names = append(names, dashes+n)
	}
	if text := d.GetDefaultText(); d.TakesValue() && text != "" {
		usage += " (default: " + strings.Trim(text, `"`) + ")"
	}
	return strings.Join(names, ", ") + value + "\t" + usage
}
