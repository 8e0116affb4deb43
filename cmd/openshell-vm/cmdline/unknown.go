package cmdline

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/habits"
	"openshell-vm/cmd/openshell-vm/say"
)

// unknownCommand answers a word that is no command. If docker or podman has it, the answer
// is what is here instead, and else what was probably meant.
func unknownCommand(path []string, cmd *cli.Command, word string) error {
	if h := habits.Command(path[1:], word); h != nil {
		return say.Errorf(h.Hint, "there is no command %q: %s", word, h.Why)
	}
	var names []string
	for _, c := range cmd.Subcommands {
		names = append(names, c.Names()...)
	}
	hint := strings.Join(helpFor(path), " ") + " lists the commands"
	if near := Nearest(word, names); near != "" {
		hint = "did you mean " + near + "? " + hint
	}
	return say.Errorf(hint, "unknown command %q", word)
}

// unknownFlag is unknownCommand for flags. Combined short ones are typed as one word.
func unknownFlag(path []string, cmd *cli.Command, typed string) error {
	flag := typed
	if !strings.HasPrefix(typed, "--") && len(typed) > 2 {
		flag = unknownShort(cmd, typed)
	}
	if h := habits.Flag(path[1:], flag); h != nil {
		return say.Errorf(h.Hint, "there is no flag %s: %s", flag, h.Why)
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
	if near := Nearest(strings.TrimLeft(typed, "-"), names); near != "" {
		hint = "did you mean --" + near + "? " + hint
	}
	return say.Errorf(hint, "unknown flag %s", typed)
}

// perhapsArgument adds what to do if an unknown flag is meant for the image's program.
// Docker's flags end at the image's name. Here that is a flag's value, and ends nothing.
func perhapsArgument(err error, cmd *cli.Command, before []string) error {
	var e *say.Error
	image := func(flag string) bool {
		return strings.HasPrefix(flag, "--image=") || strings.HasPrefix(flag, "--entrypoint=")
	}
	if !argumentsOf(cmd).command || !slices.ContainsFunc(before, image) || !errors.As(err, &e) {
		return err
	}
	return say.Errorf("is it an argument of what the image runs? write -- before it; else "+e.Hint, "%v", err)
}

// unknownShort is the first of combined short flags that cmd doesn't have.
func unknownShort(cmd *cli.Command, typed string) string {
	for _, r := range typed[1:] {
		if name, _ := Lookup(cmd, string(r)); name == "" {
			return "-" + string(r)
		}
	}
	return typed
}

func noValue(path []string, flag string) error {
	return say.Errorf(strings.Join(helpFor(path), " ")+" explains it", "%s needs a value", flag)
}

func helpFor(path []string) []string {
	return slices.Concat([]string{say.Program}, path[1:], []string{"--help"})
}

// Nearest is the name that was probably meant, or "". It is one slip of the finger away,
// or two in a long word.
func Nearest(typed string, names []string) string {
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

// slips counts how often a letter was left out, put in, replaced, or changed with its
// neighbour (the optimal string alignment distance).
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
