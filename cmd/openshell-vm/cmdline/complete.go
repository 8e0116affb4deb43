package cmdline

import (
	"context"
	"embed"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/cmd/openshell-vm/show"
	"openshell-vm/gateway/api"
)

// CompleteCommand is what the shells' scripts ask: `openshell-vm __complete WORD...
// CURRENT`. The words are those after the program's name, the last one possibly empty.
// Each candidate is a line, with a tab and a description where there is one. No line
// means: complete file names.
const CompleteCommand = "__complete"

//go:embed completion.bash completion.zsh completion.fish
var scripts embed.FS

// Script gives a shell's completion script.
func Script(shell string) ([]byte, error) {
	script, err := scripts.ReadFile("completion." + shell)
	if err != nil {
		return nil, say.Errorf("bash, zsh and fish are supported", "no completion for %q", shell)
	}
	return script, nil
}

// Choice is a flag whose value is one of some words.
type Choice struct {
	*cli.StringFlag
	Of []string
}

// Names is a flag whose values begin with a name that the gateway knows.
type Names struct {
	*cli.StringSliceFlag
	Of func(context.Context, *api.Client) ([]string, error)
}

// choices are what a flag's value can be; nil where nobody knows.
func choices(cmd *cli.Command, name string) []string {
	for _, f := range cmd.Flags {
		switch f := f.(type) {
		case Choice:
			if f.Name == name {
				return f.Of
			}
		case Names:
			if f.Name == name {
				return ask(f.Of)
			}
		}
	}
	return nil
}

// Complete prints the candidates for the last word.
func Complete(w io.Writer, app *cli.App, words []string) {
	if len(words) == 0 {
		return
	}
	current := words[len(words)-1]
	cmd, pending, positional := walk(Root(app), words[:len(words)-1])
	for _, line := range candidates(cmd, pending, positional, current) {
		if strings.HasPrefix(line, current) {
			fmt.Fprintln(w, line)
		}
	}
}

func candidates(cmd *cli.Command, pending string, positional int, current string) []string {
	args := argumentsOf(cmd)
	switch {
	case pending != "":
		return choices(cmd, pending)
	case args.command && positional > 0:
		return nil
	case strings.HasPrefix(current, "-"):
		return flagNames(cmd)
	case len(cmd.Subcommands) > 0:
		return commandNames(cmd)
	case positional > 0 && !args.many:
		return nil
	case args.names != nil:
		return ask(args.names)
	}
	return args.words
}

// walk goes through the words before the current one. It gives the command that they
// name, the flag that still wants its value, and how many other words there are.
func walk(cmd *cli.Command, words []string) (_ *cli.Command, pending string, positional int) {
	for _, word := range words {
		switch next := cmd.Command(word); {
		case pending != "":
			pending = ""
		case word == "--":
			positional++
		case strings.HasPrefix(word, "-") && positional == 0:
			pending = wanting(cmd, word)
		case next != nil && positional == 0:
			cmd = next
		default:
			positional++
		}
	}
	return cmd, pending, positional
}

// wanting is the first name of the flag in word if its value is the next word.
func wanting(cmd *cli.Command, word string) string {
	name := strings.TrimLeft(word, "-")
	if !strings.HasPrefix(word, "--") && name != "" {
		name = name[len(name)-1:] // of combined short flags only the last can
	}
	if first, takesValue := Lookup(cmd, name); takesValue {
		return first
	}
	return ""
}

func flagNames(cmd *cli.Command) []string {
	var lines []string
	for _, f := range flagsOf(cmd) {
		if d, ok := f.(cli.DocGenerationFlag); ok {
			lines = append(lines, "--"+f.Names()[0]+"\t"+strings.ReplaceAll(d.GetUsage(), "`", ""))
		}
	}
	return lines
}

func commandNames(cmd *cli.Command) []string {
	var lines []string
	for _, c := range cmd.Subcommands {
		lines = append(lines, c.Name+"\t"+c.Usage)
	}
	return lines
}

// ask asks a gateway, if one runs. Completing a word starts none, and tells no error.
func ask(names func(context.Context, *api.Client) ([]string, error)) []string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	client, err := api.Connect(ctx)
	if err != nil {
		return nil
	}
	lines, err := names(ctx, client)
	if err != nil {
		return nil
	}
	return lines
}

func sandboxNames(ctx context.Context, client *api.Client) (lines []string, err error) {
	list, err := client.List(ctx)
	for _, s := range list {
		lines = append(lines, s.Name+"\t"+string(s.State))
	}
	return lines, err
}

// ShareNames are the shares of the user's own.
func ShareNames(ctx context.Context, client *api.Client) (lines []string, err error) {
	list, err := client.Shares.List(ctx)
	for _, s := range list {
		lines = append(lines, s.Name+"\t"+show.ShareFreshness(s, time.Now()))
	}
	return lines, err
}

// tokenOwnerNames are all that has tokens: sandboxes, and shares of the user's own.
func tokenOwnerNames(ctx context.Context, client *api.Client) ([]string, error) {
	boxes, err := sandboxNames(ctx, client)
	if err != nil {
		return nil, err
	}
	shares, err := ShareNames(ctx, client)
	return append(boxes, shares...), err
}

func volumeNames(ctx context.Context, client *api.Client) (lines []string, err error) {
	list, err := client.Volumes.List(ctx)
	for _, v := range list {
		lines = append(lines, v.Name+"\t"+strings.Join(v.UsedBy, ", "))
	}
	return lines, err
}

func secretNames(ctx context.Context, client *api.Client) (lines []string, err error) {
	list, err := client.Secrets.List(ctx)
	for _, s := range list {
		lines = append(lines, s.Name+"\t"+strings.Join(s.UsedBy, ", "))
	}
	return lines, err
}

func keyNames(ctx context.Context, client *api.Client) (lines []string, err error) {
	list, err := client.Keys.List(ctx)
	for _, k := range list {
		if !k.Signs {
			lines = append(lines, k.ID+"\tverifies for "+show.Span(time.Until(k.RetireAt)))
		}
	}
	return lines, err
}

func imageNames(ctx context.Context, client *api.Client) (lines []string, err error) {
	list, err := client.Images.List(ctx)
	for _, i := range list {
		for _, name := range i.Names {
			lines = append(lines, name+"\t"+fmt.Sprintf("made of it: %s", say.Plural(len(i.Sandboxes), "sandbox")))
		}
	}
	return lines, err
}
