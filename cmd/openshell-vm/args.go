package main

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

// arrange brings a command line into the one form that the flag parser can't
// misread: every flag as --name=value by its first name, then "--", then the
// other arguments.
//
// The parser alone stops at the first argument that is no flag ("inspect box
// -o json"), takes no value attached to a short flag (-eA=b), refuses
// a flag's long and short name beside each other, and confuses combined short
// flags with an equal word before them ("run --name it -it").
//
// Flags may stand anywhere, but for commands that end in a COMMAND: there,
// the first argument that is no flag ends them, as in docker run and exec.
func arrange(app *cli.App, args []string) ([]string, error) {
	cmd := rootOf(app)
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
	short := false // -h, which is docker's --hostname where a sandbox is made
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
			return nil, err
		}
		short = short || !strings.HasPrefix(word, "--") && slices.Contains(taken, helpArg)
		flags, rest = append(flags, taken...), left
	}
	if slices.Contains(flags, helpArg) { // of a further word the library looks for a help topic
		if h := flagHabit(path[1:], "--hostname"); h != nil && short && len(words) > 0 {
			return nil, usage(h.hint+"; "+strings.Join(helpFor(path), " ")+" explains all flags", "-h is help here, and not --hostname: %s", h.why)
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
		name, takesValue := lookup(cmd, typed)
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
		name, takesValue := lookup(cmd, typed)
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

// lookup finds a flag's first name by any of its names; "" if there is none.
func lookup(cmd *cli.Command, name string) (first string, takesValue bool) {
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
	if cmd.Name == appName {
		flags = append(flags, cli.VersionFlag)
	}
	return flags
}

// rootOf is the app as a command: urfave makes its own only when it runs.
func rootOf(app *cli.App) *cli.Command {
	return &cli.Command{Name: app.Name, Subcommands: app.Commands}
}

// unknownCommand answers a word that is no command: with what is here in place
// of docker's or podman's, else with what was probably meant.
func unknownCommand(path []string, cmd *cli.Command, word string) error {
	if h := commandHabit(path[1:], word); h != nil {
		return usage(h.hint, "there is no command %q: %s", word, h.why)
	}
	var names []string
	for _, c := range cmd.Subcommands {
		names = append(names, c.Names()...)
	}
	hint := strings.Join(helpFor(path), " ") + " lists the commands"
	if near := nearest(word, names); near != "" {
		hint = "did you mean " + near + "? " + hint
	}
	return usage(hint, "unknown command %q", word)
}

// unknownFlag is unknownCommand for flags. Of combined short ones, typed is all.
func unknownFlag(path []string, cmd *cli.Command, typed string) error {
	flag := typed
	if !strings.HasPrefix(typed, "--") && len(typed) > 2 {
		flag = unknownShort(cmd, typed)
	}
	if h := flagHabit(path[1:], flag); h != nil {
		return usage(h.hint, "there is no flag %s: %s", flag, h.why)
	}
	var names []string
	for _, f := range flagsOf(cmd) {
		for _, n := range f.Names() {
			if len(n) > 1 {
				names = append(names, n)
			}
		}
	}
	hint := strings.Join(helpFor(path), " ") + " lists the flags"
	if near := nearest(strings.TrimLeft(typed, "-"), names); near != "" {
		hint = "did you mean --" + near + "? " + hint
	}
	return usage(hint, "unknown flag %s", typed)
}

// unknownShort is the first of combined short flags that cmd doesn't have.
func unknownShort(cmd *cli.Command, typed string) string {
	for _, r := range typed[1:] {
		if name, _ := lookup(cmd, string(r)); name == "" {
			return "-" + string(r)
		}
	}
	return typed
}

func noValue(path []string, flag string) error {
	return usage(strings.Join(helpFor(path), " ")+" explains it", "%s needs a value", flag)
}

func helpFor(path []string) []string {
	return slices.Concat([]string{appName}, path[1:], []string{"--help"})
}

// nearest is the name that was probably meant, or "": one slip of the finger
// away, two in a long word.
func nearest(typed string, names []string) string {
	if utf8.RuneCountInString(typed) < 3 {
		return ""
	}
	near, best := "", 2
	if len(typed) > 6 {
		best = 3
	}
	for _, n := range names {
		if d := slips([]rune(typed), []rune(n)); d < best {
			best, near = d, n
		}
	}
	return near
}

// slips counts the letters left out, put in, replaced, or changed with their
// neighbour between two words (the optimal string alignment distance).
func slips(a, b []rune) int {
	before, last := []int(nil), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range a {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range b {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
