package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/frame"
	"openshell-vm/cmd/openshell-vm/request"
	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/cmd/openshell-vm/show"
)

// manyFlags is with how many flags a command needs an example. --help is not counted.
const manyFlags = 3

// invocation is our program with its arguments in a line of a shell's.
var invocation = regexp.MustCompile(say.Program + `((?: [^|>&$()]+)*)`)

// TestExamples: each command with many flags has an example, and each example is
// a command line that the parser takes and that its command accepts.
func TestExamples(t *testing.T) {
	eachCommand(newApp(), func(name string, c *cli.Command) {
		if c.Description == "" {
			if len(c.Flags) >= manyFlags {
				t.Errorf("%s has %d flags and no example", name, len(c.Flags))
			}
			return
		}
		help := strings.ReplaceAll(helpOf(t, name), "\n   ", "\n")
		if !strings.Contains(help, "\nEXAMPLES:\n"+c.Description+"\n") {
			t.Errorf("%s --help does not show its examples: %s", name, help)
		}
		own := false
		for _, line := range strings.Split(c.Description, "\n") {
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			if len(line) > 120 {
				t.Errorf("too long for a terminal: %s", line)
			}
			found := invocation.FindAllStringSubmatch(line, -1)
			if len(found) == 0 {
				t.Errorf("not about us: %s", line)
			}
			for _, m := range found {
				own = tryExample(t, strings.Fields(m[1])) == name || own
			}
		}
		if !own {
			t.Errorf("no example of %s is one of %s", name, name)
		}
	})
}

// eachCommand calls f for each command and subcommand, with its whole name.
func eachCommand(app *cli.App, f func(name string, c *cli.Command)) {
	var walk func(path string, commands []*cli.Command)
	walk = func(path string, commands []*cli.Command) {
		for _, c := range commands {
			name := strings.TrimSpace(path + " " + c.Name)
			f(name, c)
			walk(name, c.Subcommands)
		}
	}
	walk("", app.Commands)
}

func helpOf(t *testing.T, command string) string {
	t.Helper()
	var out strings.Builder
	app := newApp()
	app.Writer = &out
	check(t, app.Run(append(append([]string{say.Program}, strings.Fields(command)...), "--help")))
	return out.String()
}

var quoted = regexp.MustCompile(`'[^']*'|"[^"]*"`)

// TestReadmeCommands: the command lines of README and of the pages in docs are ones that the parser takes, too.
func TestReadmeCommands(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	check(t, err)
	var text []byte
	for _, page := range append(pages, "../../README.md") {
		if filepath.Base(page) == "commands.md" {
			continue // which is made of the help
		}
		more, err := os.ReadFile(page)
		check(t, err)
		text = append(text, more...)
	}
	seen, inBlock := 0, false
	for _, line := range strings.Split(strings.ReplaceAll(string(text), "\\\n", " "), "\n") {
		if strings.HasPrefix(line, "```") {
			inBlock = !inBlock
		}
		line, _, _ = strings.Cut(line, " #")
		if !inBlock {
			continue
		}
		for _, command := range strings.Split(line, "; ") {
			if strings.Contains(command, say.Program) && strings.Contains(quoted.ReplaceAllString(command, ""), ";") {
				t.Errorf("a shell ends the command at the semicolon: %s", command)
			}
			for _, m := range invocation.FindAllStringSubmatch(command, -1) {
				seen++
				tryExample(t, strings.Fields(m[1]))
			}
		}
	}
	if seen < 80 {
		t.Errorf("only %d command lines were found", seen)
	}
}

// tryExample parses args, as main does, and gives the command's name.
func tryExample(t *testing.T, args []string) (name string) {
	t.Helper()
	line := strings.Join(args, " ")
	app := newApp()
	stub(app.Commands, func(c *cli.Context) error {
		name = strings.TrimPrefix(c.Command.HelpName, say.Program+" ")
		return judge(c)
	})
	arranged, err := cmdline.Arrange(app, append([]string{say.Program}, args...))
	if err == nil {
		err = app.Run(arranged)
	}
	if err != nil {
		t.Errorf("%s: %v", line, err)
	}
	return name
}

// stub puts action in the place of what commands do.
func stub(commands []*cli.Command, action cli.ActionFunc) {
	for _, c := range commands {
		stub(c.Subcommands, action)
		if len(c.Subcommands) == 0 {
			c.Action = action
		}
	}
}

// judge reads flags and arguments as a command does before it asks a gateway. What a shell
// would put in place of a $(…) is missing here.
func judge(c *cli.Context) error {
	_, _, badFormat := frame.WantFormat(c)
	_, badTTL := frame.Lifetime(c)
	_, badFilter := show.ReadFilter(c.StringSlice("filter"))
	if c.Command.Name == "events" {
		_, badFilter = eventFilter(c.StringSlice("filter"))
	}
	var badRequest, missing error
	if c.Command.ArgsUsage == cmdline.NewCommand {
		_, badRequest = request.Read(c)
	}
	wants := c.Command.ArgsUsage
	if wants != "" && wants[0] != '[' && c.NArg() == 0 && c.Command.Name != "rm" {
		missing = cmdline.WrongArgs(c)
	}
	return errors.Join(badFormat, badTTL, badFilter, badRequest, missing)
}
