package main

import (
	"context"
	"embed"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"openshell-vm/gateway/api"
)

// The shells' scripts ask `openshell-vm __complete WORD... CURRENT`, the words
// being those after the program's name, the last one possibly empty. Each
// candidate is a line, with a tab and a description where there is one. No
// line means: complete file names.
const completeCommand = "__complete"

//go:embed completion.bash completion.zsh completion.fish
var completionScripts embed.FS

func completionAction(c *cli.Context) error {
	shell, err := oneArg(c)
	if err != nil {
		return err
	}
	script, err := completionScripts.ReadFile("completion." + shell)
	if err != nil {
		return usage("bash, zsh and fish are supported", "no completion for %q", shell)
	}
	_, err = c.App.Writer.Write(script)
	return err
}

// values are the choices of a flag's value.
var values = map[string][]string{
	"driver":     {"auto", "vm", "docker", "podman"},
	"hypervisor": api.Hypervisors,
	"output":     {"json", "text"},
}

// complete prints the candidates for the last word.
func complete(w io.Writer, app *cli.App, words []string) {
	if len(words) == 0 {
		return
	}
	current := words[len(words)-1]
	cmd, pending, positional := walk(rootOf(app), words[:len(words)-1])
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
		return values[pending]
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

// walk goes through the words before the current one: which command they
// name, which flag still wants its value, how many other words there are.
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
	if first, takesValue := lookup(cmd, name); takesValue {
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

// ask asks a gateway that runs; completing a word starts none. Of an error
// nothing is said.
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

func shareNames(ctx context.Context, client *api.Client) (lines []string, err error) {
	list, err := client.Shares(ctx)
	for _, s := range list {
		lines = append(lines, s.Name+"\t"+shareFreshness(s, time.Now()))
	}
	return lines, err
}

func keyNames(ctx context.Context, client *api.Client) (lines []string, err error) {
	list, err := client.Keys(ctx)
	for _, k := range list {
		if !k.Signs {
			lines = append(lines, k.ID+"\tverifies for "+span(time.Until(k.RetireAt)))
		}
	}
	return lines, err
}
