package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"openshell-vm/gateway/api"
)

// What a command takes beside its flags: its ArgsUsage, as help shows it.
const (
	newCommand     = "[COMMAND [ARG...]]"
	sandboxCommand = "SANDBOX COMMAND [ARG...]"
	oneSandbox     = "SANDBOX"
	sandboxes      = "SANDBOX..."
	newName        = "NAME"
	shares         = "SHARE..."
	shareFiles     = "SHARE [NAME=]FILE..."
	tokenFile      = "[FILE|-]"
	oneKey         = "KEY"
	oneShell       = "bash|zsh|fish"
)

// arguments is what is known of such words.
type arguments struct {
	command bool // they end in a command of the user's: no flag of ours comes behind its first word
	many    bool // all are like the first

	// What the first can be; both nil where nobody knows.
	names func(context.Context, *api.Client) ([]string, error)
	words []string
}

var allArguments = map[string]arguments{
	"":             {},
	newCommand:     {command: true},
	sandboxCommand: {command: true, names: sandboxNames},
	oneSandbox:     {names: sandboxNames},
	sandboxes:      {names: sandboxNames, many: true},
	newName:        {},
	shares:         {names: shareNames, many: true},
	shareFiles:     {names: shareNames},
	tokenFile:      {},
	oneKey:         {names: keyNames},
	oneShell:       {words: []string{"bash", "zsh", "fish"}},
}

func argumentsOf(cmd *cli.Command) arguments { return allArguments[cmd.ArgsUsage] }
