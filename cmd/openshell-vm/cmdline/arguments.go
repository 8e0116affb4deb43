package cmdline

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
)

// What a command takes beside its flags: its ArgsUsage, as help shows it. Arrange and
// Complete know these and no others.
const (
	NewCommand     = "[COMMAND [ARG...]]"
	SandboxCommand = "SANDBOX COMMAND [ARG...]"
	OneSandbox     = "SANDBOX"
	Sandboxes      = "SANDBOX..."
	SandboxFile    = "SANDBOX [FILE]"
	SandboxTokens  = "SANDBOX AUDIENCE..."
	SandboxFiles   = "SANDBOX FILE..."
	SourceTarget   = "SOURCE TARGET"
	SandboxPort    = "SANDBOX [PORT[/PROTOCOL]]"
	AnySandboxes   = "[SANDBOX...]"
	NewName        = "NAME"
	Renaming       = "SANDBOX NAME"
	Shares         = "SHARE..."
	OneShare       = "SHARE"
	DirCommand     = "DIR COMMAND [ARG...]"
	ShareFiles     = "SHARE [NAME=]FILE..."
	Volumes        = "VOLUME..."
	NewContent     = "NAME [FILE|-]"
	SecretContent  = "SECRET [FILE|-]"
	Secrets        = "SECRET..."
	TokenFile      = "[FILE|-]"
	OneFile        = "FILE"
	OneDirectory   = "DIR"
	MayBeURL       = "[URL]"
	OneKey         = "KEY"
	OneShell       = "bash|zsh|fish"
	OneImage       = "IMAGE"
	Images         = "IMAGE..."
)

// arguments is what is known of such words.
type arguments struct {
	command bool // they end in a command of the user's, and no flag of ours stands behind its first word
	many    bool // all are like the first

	// What the first can be; both nil where nobody knows.
	names func(context.Context, *api.Client) ([]string, error)
	words []string
}

var allArguments = map[string]arguments{
	"":             {},
	NewCommand:     {command: true},
	SandboxCommand: {command: true, names: sandboxNames},
	OneSandbox:     {names: sandboxNames},
	Sandboxes:      {names: sandboxNames, many: true},
	SandboxFile:    {names: tokenOwnerNames},
	SandboxTokens:  {names: tokenOwnerNames},
	SandboxFiles:   {names: tokenOwnerNames},
	SourceTarget:   {}, // a shell completes files
	SandboxPort:    {names: sandboxNames},
	AnySandboxes:   {names: sandboxNames, many: true},
	NewName:        {},
	Renaming:       {names: sandboxNames},
	Shares:         {names: ShareNames, many: true},
	OneShare:       {names: tokenOwnerNames},
	DirCommand:     {command: true}, // a shell completes files
	ShareFiles:     {names: ShareNames},
	Volumes:        {names: volumeNames, many: true},
	NewContent:     {},
	SecretContent:  {names: secretNames},
	Secrets:        {names: secretNames, many: true},
	TokenFile:      {},
	OneFile:        {}, // a shell completes files
	OneDirectory:   {},
	MayBeURL:       {},
	OneKey:         {names: keyNames},
	OneImage:       {},
	Images:         {names: imageNames, many: true},
	OneShell:       {words: []string{"bash", "zsh", "fish"}},
}

func argumentsOf(cmd *cli.Command) arguments { return allArguments[cmd.ArgsUsage] }

// Known says whether a command's ArgsUsage is one of those above, and whether it ends
// in a command of the user's.
func Known(cmd *cli.Command) (command, known bool) {
	a, known := allArguments[cmd.ArgsUsage]
	return a.command, known
}

// One is the only argument of a command that needs one.
func One(c *cli.Context) (string, error) {
	if c.NArg() != 1 || c.Args().First() == "" {
		return "", WrongArgs(c)
	}
	return c.Args().First(), nil
}

// Some are the arguments of a command that needs at least one.
func Some(c *cli.Context) ([]string, error) {
	if c.NArg() == 0 {
		return nil, WrongArgs(c)
	}
	return c.Args().Slice(), nil
}

// AtMostOne is the only argument of a command that may have one; "" if there is none.
func AtMostOne(c *cli.Context) (string, error) {
	if c.NArg() > 1 {
		return "", WrongArgs(c)
	}
	return c.Args().First(), nil
}

// OneOrTwo are the arguments of a command that needs one and may have another; "" if there is
// no other.
func OneOrTwo(c *cli.Context) (one, other string, err error) {
	switch one, other = c.Args().Get(0), c.Args().Get(1); {
	case one == "":
		return "", "", WrongArgs(c)
	case c.NArg() > 2:
		return "", "", say.Errorf("usage: "+c.Command.HelpName+" [flags] "+c.Command.ArgsUsage, "%s has too many arguments",
			strings.TrimPrefix(c.Command.HelpName, say.Program+" "))
	}
	return one, other, nil
}

// None is for a command that takes no argument.
func None(c *cli.Context) error {
	if c.NArg() > 0 {
		return WrongArgs(c)
	}
	return nil
}

// WrongArgs says which argument is missing or one too many, by the command's ArgsUsage.
func WrongArgs(c *cli.Context) error {
	name := strings.TrimPrefix(c.Command.HelpName, say.Program+" ")
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
		return say.Errorf(hint, "%s needs a %s", name, needed[len(given)])
	case len(given) == 1 && given[0] == "":
		return say.Errorf(hint, "%s: the %s is empty", name, needed[0])
	case c.Command.ArgsUsage == "":
		return say.Errorf(hint, "%s takes no argument: %q", name, given[0])
	}
	return say.Errorf(hint, "%s takes one %s: %q is one too many", name, strings.Trim(c.Command.ArgsUsage, "[]"), given[1])
}
