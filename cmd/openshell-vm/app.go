package main

import (
	"flag"
	"fmt"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"
)

const appName = "openshell-vm"

// setUp tells the library once what it keeps for all apps of a process.
var setUp = sync.OnceFunc(func() {
	cli.HelpFlag = sharedFlag{&cli.BoolFlag{Name: "help", Aliases: []string{"h"}, Usage: "show help", DisableDefaultText: true}}
	cli.VersionFlag = sharedFlag{&cli.BoolFlag{Name: "version", Aliases: []string{"v"}, Usage: "print the version", DisableDefaultText: true}}
	cli.VersionPrinter = func(c *cli.Context) { fmt.Fprintf(c.App.Writer, "%s %s\n", appName, version) }
	cli.FlagStringer = flagHelp
})

// sharedFlag is a flag of all apps: each applies a copy, because the library leaves
// in a flag what it has read.
type sharedFlag struct{ *cli.BoolFlag }

func (f sharedFlag) Apply(set *flag.FlagSet) error {
	own := *f.BoolFlag
	return own.Apply(set)
}

// newApp is the table of commands. Names, ArgsUsage and flags are read by
// arrange and complete, too. ArgsUsage is one of those in arguments.go.
func newApp() *cli.App {
	setUp()
	app := &cli.App{
		Name:        appName,
		Usage:       "run sandboxes (microVMs, containers) whose token is always fresh",
		Version:     version,
		HideVersion: false,
		Commands: []*cli.Command{
			{Name: "run", Category: "sandboxes", Usage: "create a sandbox and run a command in it", ArgsUsage: newCommand,
				Flags: append(createFlags(), detachFlag()), Action: runAction},
			{Name: "create", Category: "sandboxes", Usage: "create a sandbox without starting it", ArgsUsage: newCommand,
				Flags: createFlags(), Action: createAction},
			{Name: "ps", Aliases: []string{"ls", "list"}, Category: "sandboxes", Usage: "list sandboxes and how fresh their tokens are",
				Flags: []cli.Flag{allFlag(), filterFlag(), quietFlag(), noTruncFlag(), outputFlag()}, Action: psAction},
			{Name: "inspect", Category: "sandboxes", Usage: "show all about sandboxes", ArgsUsage: sandboxes,
				Flags: []cli.Flag{outputFlag()}, Action: inspectAction},
			{Name: "logs", Category: "sandboxes", Usage: "show the workload's output since its last start", ArgsUsage: oneSandbox,
				Flags: []cli.Flag{followFlag(), tailFlag()}, Action: logsAction},
			{Name: "exec", Category: "sandboxes", Usage: "run a further command in a running sandbox", ArgsUsage: sandboxCommand,
				Flags: processFlags(), Action: execAction},
			{Name: "attach", Category: "sandboxes", Usage: "connect to a running sandbox's standard streams", ArgsUsage: oneSandbox,
				Flags: []cli.Flag{noStdinFlag()}, Action: attachAction},
			{Name: "start", Category: "sandboxes", Usage: "start stopped sandboxes, each with a fresh token", ArgsUsage: sandboxes,
				Action: startAction},
			{Name: "stop", Category: "sandboxes", Usage: "stop sandboxes", ArgsUsage: sandboxes,
				Flags: []cli.Flag{graceFlag()}, Action: stopAction},
			{Name: "restart", Category: "sandboxes", Usage: "stop sandboxes and start them again, each with a fresh token", ArgsUsage: sandboxes,
				Flags: []cli.Flag{graceFlag()}, Action: restartAction},
			{Name: "kill", Category: "sandboxes", Usage: "end sandboxes at once, or send them another signal", ArgsUsage: sandboxes,
				Flags: []cli.Flag{signalFlag()}, Action: killAction},
			{Name: "wait", Category: "sandboxes", Usage: "wait until sandboxes have ended and print their exit codes", ArgsUsage: sandboxes,
				Action: waitAction},
			{Name: "rm", Category: "sandboxes", Usage: "remove sandboxes and their shares", ArgsUsage: sandboxes,
				Flags: []cli.Flag{forceFlag()}, Action: rmAction},

			{Name: "share", Category: "shares", Usage: "shares for containers of your own, which you start yourself", Subcommands: []*cli.Command{
				{Name: "create", Usage: "make a share, or take the one that exists, " +
					"and print the arguments for docker run or podman run", ArgsUsage: newName,
					Flags: []cli.Flag{ttlFlag(), ignoreFlag(), quietDirFlag(), outputFlag()}, Action: shareCreateAction},
				{Name: "ls", Aliases: []string{"list"}, Usage: "list the shares and how fresh their tokens are",
					Flags: []cli.Flag{quietNameFlag(), noTruncFlag(), outputFlag()}, Action: shareListAction},
				{Name: "inspect", Usage: "show all about shares, a sandbox's too", ArgsUsage: shares,
					Flags: []cli.Flag{outputFlag()}, Action: shareInspectAction},
				{Name: "put", Usage: "publish files (- is standard input) beside the token, a sandbox's too, " +
					"and print their generation", ArgsUsage: shareFiles,
					Flags: []cli.Flag{removeFlag()}, Action: sharePutAction},
				{Name: "rm", Usage: "remove shares; their tokens are refused from then on", ArgsUsage: shares,
					Flags: []cli.Flag{forceShareFlag()}, Action: shareRmAction},
			}},

			{Name: "token", Category: "gateway", Usage: "inspect, rotate or verify tokens; none is ever shown", Subcommands: []*cli.Command{
				{Name: "inspect", Usage: "show what is known of a sandbox's token", ArgsUsage: oneSandbox,
					Flags: []cli.Flag{outputFlag()}, Action: tokenInspectAction},
				{Name: "rotate", Usage: "publish a new token now", ArgsUsage: oneSandbox,
					Flags: []cli.Flag{outputFlag()}, Action: tokenRotateAction},
				{Name: "verify", Usage: "check a token from a file or standard input; exit code 1 if it is not valid", ArgsUsage: tokenFile,
					Flags: []cli.Flag{leewayFlag(), outputFlag()}, Action: tokenVerifyAction},
			}},
			{Name: "keys", Category: "gateway", Usage: "the keys that sign tokens", Subcommands: []*cli.Command{
				{Name: "list", Aliases: []string{"ls"}, Usage: "list the key that signs and those that still verify",
					Flags: []cli.Flag{outputFlag()}, Action: keysListAction},
				{Name: "rotate", Usage: "sign with a new key and publish anew every share but stopped sandboxes'; " +
					"the old key verifies until its last token has expired",
					Flags: []cli.Flag{outputFlag()}, Action: keysRotateAction},
				{Name: "retire", Usage: "make a key that signs no more invalid at once", ArgsUsage: oneKey,
					Flags: []cli.Flag{forceKeyFlag(), outputFlag()}, Action: keysRetireAction},
			}},
			{Name: "gateway", Category: "gateway", Usage: "the daemon that keeps tokens fresh", Subcommands: []*cli.Command{
				{Name: "status", Usage: "show the gateway's state; exit code 1 if none runs",
					Flags: []cli.Flag{outputFlag()}, Action: gatewayStatusAction},
				{Name: "start", Usage: "start it if none runs", Action: gatewayStartAction},
				{Name: "stop", Usage: "end it; sandboxes go on, their tokens are no longer renewed", Action: gatewayStopAction},
				{Name: "restart", Usage: "end it and start the installed version with this environment; sandboxes go on", Action: gatewayRestartAction},
			}},
			{Name: "doctor", Category: "gateway", Usage: "show which drivers work on this host, and what the others lack",
				Flags: []cli.Flag{outputFlag()}, Action: doctorAction},
			{Name: "version", Category: "gateway", Usage: "print the versions of the CLI and of the gateway", Action: versionAction},
			{Name: "completion", Category: "gateway", Usage: "print a shell's completion script", ArgsUsage: oneShell, Action: completionAction},
		},
		// Values may contain commas.
		DisableSliceFlagSeparator: true,
		// Exit codes are report's work.
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError:   onUsageError,
	}
	settle("", app.Commands)
	return app
}

// settle gives every command what all have in common. A help command below
// each would take away the words "help" and "h" from what users run and name.
func settle(path string, commands []*cli.Command) {
	for _, c := range commands {
		name := strings.TrimSpace(path + " " + c.Name)
		c.Description = examples[name]
		c.HideHelpCommand = true
		c.OnUsageError = onUsageError
		if len(c.Subcommands) > 0 {
			c.Action = groupAction
		} else {
			c.CustomHelpTemplate = commandHelp
		}
		settle(name, c.Subcommands)
	}
}

// groupAction answers a group's name alone.
func groupAction(c *cli.Context) error {
	var names []string
	for _, s := range c.Command.Subcommands {
		names = append(names, s.Name)
	}
	return usage(fmt.Sprintf("%s %s --help explains them", appName, c.Command.Name),
		"%s needs a command: %s", c.Command.Name, strings.Join(names, ", "))
}

// onUsageError words what the flag parser says: only wrong values are left to
// it, after arrange.
func onUsageError(c *cli.Context, err error, _ bool) error {
	text := strings.Replace(err.Error(), "for flag -", "for --", 1)
	if strings.Contains(text, "for --ttl") || strings.Contains(text, "for --leeway") {
		text = strings.Replace(text, ": parse error", ": not a duration such as 90s, 15m or 1h", 1)
	}
	return usage(fmt.Sprintf("%s %s --help explains it", appName, c.Command.Name), "%s", text)
}

// Flags, made anew for each app: the parser leaves in them what it has read.

func outputFlag() cli.Flag {
	return &cli.StringFlag{Name: "output", Aliases: []string{"o", "format"},
		Usage: "as `FORMAT`: text for people, or json, where durations are in nanoseconds", DefaultText: "text"}
}
func ttlFlag() cli.Flag {
	return &cli.DurationFlag{Name: "ttl", Usage: "`DURATION` such as 15m that its tokens live, renewed at half of it", DefaultText: "1h"}
}
func graceFlag() cli.Flag {
	return &cli.GenericFlag{Name: "time", Aliases: []string{"t", "timeout"},
		Usage: "`SECONDS` until it is killed", Value: newGrace(), DefaultText: "10"}
}
func leewayFlag() cli.Flag {
	return &cli.DurationFlag{Name: "leeway", Usage: "clock difference to allow, a `DURATION` such as 5s", DefaultText: "none"}
}
func signalFlag() cli.Flag {
	return &cli.StringFlag{Name: "signal", Aliases: []string{"s"}, Usage: "`SIGNAL` to send, a name or a number", DefaultText: "KILL"}
}
func tailFlag() cli.Flag {
	return &cli.StringFlag{Name: "tail", Aliases: []string{"n"}, Usage: "only the last `N` lines", DefaultText: "all"}
}
func filterFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "filter", Aliases: []string{"f"},
		Usage: "only those with `KEY=VALUE`: name, id, status, driver (repeatable)"}
}
func removeFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "remove", Usage: "take the file `NAME` away (repeatable)"}
}

// boolFlag is one that is there or not.
func boolFlag(usage, name string, aliases ...string) cli.Flag {
	return &cli.BoolFlag{Name: name, Aliases: aliases, Usage: usage, DisableDefaultText: true}
}

func allFlag() cli.Flag     { return boolFlag("also those that do not run", "all", "a") }
func quietFlag() cli.Flag   { return boolFlag("only ids", "quiet", "q") }
func noTruncFlag() cli.Flag { return boolFlag("cut nothing to fit the terminal", "no-trunc") }
func followFlag() cli.Flag  { return boolFlag("go on until the sandbox ends", "follow", "f") }
func forceFlag() cli.Flag {
	return boolFlag("also running ones, and no error for those that are gone", "force", "f")
}
func detachFlag() cli.Flag {
	return boolFlag("leave it running in the background and print its id", "detach", "d")
}
func noStdinFlag() cli.Flag { return boolFlag("do not connect standard input", "no-stdin") }
func ignoreFlag() cli.Flag {
	return boolFlag("take one that exists as it is, whatever --ttl says", "ignore")
}
func quietDirFlag() cli.Flag  { return boolFlag("only the directory to mount", "quiet", "q") }
func quietNameFlag() cli.Flag { return boolFlag("only names", "quiet", "q") }
func forceShareFlag() cli.Flag {
	return boolFlag("also those that something has mounted, and no error for those that are gone", "force", "f")
}
func forceKeyFlag() cli.Flag {
	return boolFlag("also while shares hold tokens that it signed", "force", "f")
}

// wantJSON reads --output.
func wantJSON(c *cli.Context) (bool, error) {
	switch format := c.String("output"); format {
	case "json":
		return true, nil
	case "", "text", "table":
		return false, nil
	default:
		return false, usage("use -o json, for jq to choose from, or leave it out", "unknown output format %q", format)
	}
}

// oneArg is the only argument of a command that needs one.
func oneArg(c *cli.Context) (string, error) {
	if c.NArg() != 1 || c.Args().First() == "" {
		return "", argsError(c)
	}
	return c.Args().First(), nil
}

func someArgs(c *cli.Context) ([]string, error) {
	if c.NArg() == 0 {
		return nil, argsError(c)
	}
	return c.Args().Slice(), nil
}

func noArgs(c *cli.Context) error {
	if c.NArg() > 0 {
		return argsError(c)
	}
	return nil
}

// argsError says which argument is missing or one too many, by the command's
// ArgsUsage.
func argsError(c *cli.Context) error {
	name := strings.TrimPrefix(c.Command.HelpName, appName+" ")
	hint := "usage: " + strings.TrimSpace(c.Command.HelpName+" [flags] "+c.Command.ArgsUsage)
	var needed []string
	for _, word := range strings.Fields(c.Command.ArgsUsage) {
		if !strings.HasPrefix(word, "[") {
			needed = append(needed, strings.TrimSuffix(word, "..."))
		}
	}
	given := c.Args().Slice()
	switch {
	case len(given) < len(needed):
		return usage(hint, "%s needs a %s", name, needed[len(given)])
	case len(given) == 1 && given[0] == "":
		return usage(hint, "%s: the %s is empty", name, needed[0])
	case c.Command.ArgsUsage == "":
		return usage(hint, "%s takes no argument: %q", name, given[0])
	}
	return usage(hint, "%s takes one %s: %q is one too many", name, strings.Trim(c.Command.ArgsUsage, "[]"), given[1])
}

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
