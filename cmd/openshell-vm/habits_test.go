package main

import (
	"os"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
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
			args := []string{appName, word}
			switch section {
			case "commands":
			case "flags":
				args = append(args, "ps")
			default:
				args = []string{appName, section, word, "x", "x"}
			}
			_, err := arrange(newApp(), args)
			if err != nil && strings.HasPrefix(err.Error(), "unknown ") {
				t.Errorf("%s is not answered: %v", strings.Join(args[1:], " "), err)
			}
		}
	}
	if seen < 300 {
		t.Errorf("only %d words were tried", seen)
	}
}

// TestHabitsAreTrue: no answer is for what is there, and each is whole.
func TestHabitsAreTrue(t *testing.T) {
	app := newApp()
	whole := func(h habit) {
		if h.why == "" || h.hint == "" || strings.ContainsAny(h.why+h.hint, "\n\t") {
			t.Errorf("not one line and a hint: %+v", h)
		}
		for i, part := range strings.Split(h.hint, appName+" ") {
			if name, _, _ := strings.Cut(part, " "); i > 0 && rootOf(app).Command(strings.TrimRight(name, ",;:")) == nil && !strings.HasPrefix(name, "-") {
				t.Errorf("there is no %s %s: %s", appName, name, h.hint)
			}
		}
	}
	for path, habits := range commandHabits {
		group := commandAt(t, app, path)
		for _, h := range habits {
			whole(h)
			for _, w := range strings.Fields(h.words) {
				if group.Command(w) != nil {
					t.Errorf("%s %s is a command, and answered as if it were none", path, w)
				}
			}
		}
	}
	for path, habits := range flagHabits {
		cmd := commandAt(t, app, path)
		for _, h := range habits {
			whole(h)
			for _, w := range strings.Fields(h.words) {
				if name, _ := lookup(cmd, strings.TrimLeft(w, "-")); name != "" {
					t.Errorf("%s %s is a flag, and answered as if it were none", path, w)
				}
			}
		}
	}
}

func commandAt(t *testing.T, app *cli.App, path string) *cli.Command {
	t.Helper()
	cmd := rootOf(app)
	for _, word := range strings.Fields(path) {
		if cmd = cmd.Command(word); cmd == nil {
			t.Fatalf("there is no command %s", path)
		}
	}
	return cmd
}

// TestNearest: a slip of the finger is found, another word is not.
func TestNearest(t *testing.T) {
	commands := []string{"run", "create", "ps", "inspect", "logs", "exec", "attach", "start", "stop", "wait", "rm", "share", "token"}
	for typed, want := range map[string]string{
		"rnu": "run", "runn": "run", "urn": "run", "stopp": "stop", "sotp": "stop", "inspct": "inspect", "inpsect": "inspect", "atach": "attach", "creatte": "create",
		"top": "stop", "stats": "", // these two have answers of their own
		"prune": "", "pause": "", "p": "", "xx": "", "network": "", "kill": "",
	} {
		if got := nearest(typed, commands); got != want {
			t.Errorf("%s: %q, not %q", typed, got, want)
		}
	}
	for pair, want := range map[[2]string]int{{"", "ab"}: 2, {"ab", "ba"}: 1, {"abc", "abc"}: 0, {"abcd", "acbd"}: 1, {"kitten", "sitting"}: 3} {
		if got := slips([]rune(pair[0]), []rune(pair[1])); got != want {
			t.Errorf("%v: %d, not %d", pair, got, want)
		}
	}
}

// TestTwoRunsInOneProcess: an app leaves nothing to the next one.
func TestTwoRunsInOneProcess(t *testing.T) {
	var seen []string
	for _, args := range [][]string{{"stop", "--time=3", "--", "x"}, {"stop", "--", "x"}, {"ps", "--filter=name=a", "--filter=name=b", "--"}, {"ps", "--"}, {"ps", "--all", "--output=json", "--"}, {"ps", "--"}} {
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
		check(t, app.Run(append([]string{appName}, args...)))
	}
	if got := strings.Join(seen, " "); got != "3 10 name=a+name=b  jsonall " {
		t.Errorf("%q", got)
	}
}
