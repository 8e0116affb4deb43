package main

import (
	"os"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/habits"
	"openshell-vm/cmd/openshell-vm/say"
)

// TestHabits: each command and flag of docker and podman is taken, or answered
// with what is here instead.
func TestHabits(t *testing.T) {
	text, err := os.ReadFile("testdata/habits.list")
	check(t, err)
	section, seen := "", 0
	for _, line := range strings.Split(string(text), "\n") {
		switch {
		case strings.HasPrefix(line, "#"):
			continue
		case strings.HasPrefix(line, "["):
			section = strings.Trim(line, "[]")
			continue
		}
		for _, word := range strings.Fields(line) {
			seen++
			args := []string{say.Program, word}
			switch section {
			case "commands":
			case "flags":
				args = append(args, "ps")
			default:
				args = []string{say.Program, section, word, "x", "x"}
			}
			_, err := cmdline.Arrange(newApp(), args)
			if err != nil && strings.HasPrefix(err.Error(), "unknown ") {
				t.Errorf("%s is not answered: %v", strings.Join(args[1:], " "), err)
			}
		}
	}
	if seen < 300 {
		t.Errorf("only %d words were tried", seen)
	}
}

// TestHabitsAreTrue: no answer is for a command or flag that there is, and each has a
// reason and a hint that is true.
func TestHabitsAreTrue(t *testing.T) {
	app := newApp()
	whole := func(h habits.Habit) {
		if h.Why == "" || h.Hint == "" || strings.ContainsAny(h.Why+h.Hint, "\n\t") {
			t.Errorf("not one line and a hint: %+v", h)
		}
		for _, problem := range untrue(app, "habits", h.Hint) {
			t.Errorf("%s: %s", problem, h.Hint)
		}
	}
	for path, list := range habits.Commands {
		group := commandAt(t, app, path)
		for _, h := range list {
			whole(h)
			for _, w := range strings.Fields(h.Words) {
				if group.Command(w) != nil {
					t.Errorf("%s %s is a command, and answered as if it were none", path, w)
				}
			}
		}
	}
	for path, list := range habits.Flags {
		cmd := commandAt(t, app, path)
		for _, h := range list {
			whole(h)
			for _, w := range strings.Fields(h.Words) {
				if name, _ := cmdline.Lookup(cmd, strings.TrimLeft(w, "-")); name != "" {
					t.Errorf("%s %s is a flag, and answered as if it were none", path, w)
				}
			}
		}
	}
}

func commandAt(t *testing.T, app *cli.App, path string) *cli.Command {
	t.Helper()
	cmd := cmdline.Root(app)
	for _, word := range strings.Fields(path) {
		if cmd = cmd.Command(word); cmd == nil {
			t.Fatalf("there is no command %s", path)
		}
	}
	return cmd
}

// TestTwoRunsInOneProcess: an app leaves nothing to the next one.
func TestTwoRunsInOneProcess(t *testing.T) {
	var seen []string
	for _, args := range [][]string{
		{"stop", "--time=3", "--", "x"}, {"stop", "--", "x"},
		{"ps", "--filter=name=a", "--filter=name=b", "--"}, {"ps", "--"},
		{"ps", "--all", "--output=json", "--"}, {"ps", "--"},
	} {
		app := newApp()
		for _, c := range app.Commands {
			c.Action = func(c *cli.Context) error {
				said := strings.Join(c.StringSlice("filter"), "+") + c.String("output")
				if g, ok := c.Generic("time").(*grace); ok {
					said += g.String()
				}
				if c.Bool("all") {
					said += "all"
				}
				seen = append(seen, said)
				return nil
			}
		}
		check(t, app.Run(append([]string{say.Program}, args...)))
	}
	if got := strings.Join(seen, " "); got != "3 10 name=a+name=b  jsonall " {
		t.Errorf("%q", got)
	}
}
