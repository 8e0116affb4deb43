package main

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/cmdline"
	"openshell-vm/cmd/openshell-vm/say"
)

// TestArgumentsAreKnown: the parser and the completion know what each command takes.
func TestArgumentsAreKnown(t *testing.T) {
	eachCommand(newApp(), func(name string, c *cli.Command) {
		command, known := cmdline.Known(c)
		if !known || command != strings.Contains(c.ArgsUsage, "COMMAND") {
			t.Errorf("%s takes %q: known %v, with a command %v", name, c.ArgsUsage, known, command)
		}
	})
}

// TestRunsAreIndependent: an app knows nothing of what another one in the same
// process was given, not even at the same time.
func TestRunsAreIndependent(t *testing.T) {
	given := func(args ...string) (seen []string) {
		app := newApp()
		app.Writer = &strings.Builder{}
		stub(app.Commands, func(c *cli.Context) error {
			for _, f := range c.Command.Flags {
				if c.IsSet(f.Names()[0]) {
					seen = append(seen, f.Names()[0])
				}
			}
			if grace, ok := c.Generic("time").(*grace); ok {
				seen = append(seen, grace.String())
			}
			return nil
		})
		arranged, err := cmdline.Arrange(app, append([]string{say.Program}, args...))
		if err == nil {
			err = app.Run(arranged)
		}
		check(t, err)
		return seen
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			given("--version")
			given("stop", "--help")
			for _, c := range []struct{ args, want string }{
				{"stop -t 3 box", "time 3"},
				{"stop box", "10"},
				{"ps -aq -f name=x", "all filter quiet"},
				{"ps", ""},
				{"share put --remove a box f", "remove"},
				{"share put box f", ""},
			} {
				if got := given(strings.Fields(c.args)...); !slices.Equal(got, strings.Fields(c.want)) {
					t.Errorf("%s: %q", c.args, got)
				}
			}
		})
	}
	all.Wait()
}
