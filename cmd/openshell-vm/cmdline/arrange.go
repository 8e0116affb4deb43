// Package cmdline reads what is typed: which command it names, which flags and
// arguments, and what a shell can complete. What is no command or flag is answered by
// what was probably meant.
package cmdline

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/habits"
	"openshell-vm/cmd/openshell-vm/say"
)

// Arrange brings a command line into the one form that the flag parser can't misread:
// each flag as --name=value by its first name, then "--", then the other arguments.
//
// The parser alone stops at the first argument that is no flag ("inspect box -o json").
// It takes no value attached to a short flag (-eA=b). It refuses a flag's long and short
// name beside each other. It confuses combined short flags with an equal word before them
// ("run --name it -it").
//
// Flags may stand anywhere. Where a command ends in a COMMAND, the first argument that is
// no flag ends them, as in docker run and exec.
func Arrange(app *cli.App, args []string) ([]string, error) {
	cmd := Root(app)
	path, rest := args[:1:1], args[1:]
	if len(rest) > 0 && rest[0] == "help" {
		rest = append(rest[1:len(rest):len(rest)], "--help")
	}
	for len(cmd.Subcommands) > 0 {
		if len(rest) == 0 {
			return path, nil
		}
		if word := rest[0]; strings.HasPrefix(word, "-") {
			return arrangeFlags(cmd, path, rest)
		}
		next := cmd.Command(rest[0])
		if next == nil {
			return nil, unknownCommand(path, cmd, rest[0])
		}
		cmd, path, rest = next, append(path, rest[0]), rest[1:]
	}
	return arrangeFlags(cmd, path, rest)
}

const helpArg = "--help"

func arrangeFlags(cmd *cli.Command, path, rest []string) ([]string, error) {
	var flags, words []string
	short := false // -h was given. Where a sandbox is made it is docker's --hostname
	for len(rest) > 0 {
		word := rest[0]
		switch {
		case word == "--":
			words, rest = append(words, rest[1:]...), nil
			continue
		case !strings.HasPrefix(word, "-") || word == "-":
			if argumentsOf(cmd).command {
				words, rest = append(words, rest...), nil
				continue
			}
			words, rest = append(words, word), rest[1:]
			continue
		}
		taken, left, err := oneFlag(cmd, path, rest)
		if err != nil {
			return nil, perhapsArgument(err, cmd, flags)
		}
		short = short || !strings.HasPrefix(word, "--") && slices.Contains(taken, helpArg)
		flags, rest = append(flags, taken...), left
	}
	if slices.Contains(flags, helpArg) { // the library takes a further word for a topic of its help
		if h := habits.Flag(path[1:], "--hostname"); h != nil && short && len(words) > 0 {
			hint := h.Hint + "; " + strings.Join(helpFor(path), " ") + " explains all flags"
			return nil, say.Errorf(hint, "-h is help here, and not --hostname: %s", h.Why)
		}
		flags, words = []string{helpArg}, nil
	}
	out := slices.Concat(path, flags)
	if len(cmd.Subcommands) == 0 {
		out = append(append(out, "--"), words...)
	}
	return out, nil
}

// oneFlag takes the flag, or the combined short flags, at the head of rest.
func oneFlag(cmd *cli.Command, path, rest []string) (flags, left []string, err error) {
	word, left := rest[0], rest[1:]
	if long, ok := strings.CutPrefix(word, "--"); ok {
		typed, value, attached := strings.Cut(long, "=")
		name, takesValue := Lookup(cmd, typed)
		switch {
		case name == "" || len(typed) < 2:
			return nil, nil, unknownFlag(path, cmd, "--"+typed)
		case attached:
			return []string{"--" + name + "=" + value}, left, nil
		case !takesValue:
			return []string{"--" + name}, left, nil
		case len(left) == 0:
			return nil, nil, noValue(path, "--"+typed)
		}
		return []string{"--" + name + "=" + left[0]}, left[1:], nil
	}
	for attached := word[1:]; attached != ""; {
		_, n := utf8.DecodeRuneInString(attached)
		typed := attached[:n]
		attached = attached[n:]
		name, takesValue := Lookup(cmd, typed)
		value, assigned := strings.CutPrefix(attached, "=")
		switch {
		case name == "":
			return nil, nil, unknownFlag(path, cmd, word)
		case assigned || takesValue && attached != "":
			return append(flags, "--"+name+"="+value), left, nil
		case !takesValue:
			flags = append(flags, "--"+name)
		case len(left) == 0:
			return nil, nil, noValue(path, "-"+typed)
		default:
			return append(flags, "--"+name+"="+left[0]), left[1:], nil
		}
	}
	return flags, left, nil
}

// Lookup finds a flag by any of its names, and gives its first one. It is "" if there is
// no such flag.
func Lookup(cmd *cli.Command, name string) (first string, takesValue bool) {
	for _, f := range flagsOf(cmd) {
		if slices.Contains(f.Names(), name) {
			d, ok := f.(cli.DocGenerationFlag)
			return f.Names()[0], ok && d.TakesValue()
		}
	}
	return "", false
}

// flagsOf gives a command's flags with those that the library adds later.
func flagsOf(cmd *cli.Command) []cli.Flag {
	flags := slices.Concat(cmd.Flags, []cli.Flag{cli.HelpFlag})
	if cmd.Name == say.Program {
		flags = append(flags, cli.VersionFlag)
	}
	return flags
}

// Root is the app as a command. The library makes its own only when it runs.
func Root(app *cli.App) *cli.Command {
	return &cli.Command{Name: app.Name, Subcommands: app.Commands}
}
