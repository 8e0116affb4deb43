package main

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"openshell-vm/cmd/openshell-vm/say"
)

var update = flag.Bool("update", false, "write docs/commands.md anew")

// TestCommandsPage: docs/commands.md is what --help says of every command. It is
// written anew by go test ./cmd/openshell-vm -run TestCommandsPage -update.
func TestCommandsPage(t *testing.T) {
	var page strings.Builder
	page.WriteString("# Commands\n\nWhat `--help` says of each. Made from the program itself by `make docs`; a test compares them.\n")
	section := func(title, command string) {
		page.WriteString("\n" + title + "\n\n```\n" + strings.TrimSpace(helpOf(t, command)) + "\n```\n")
	}
	section("## "+say.Program, "")
	eachCommand(newApp(), func(name string, _ *cli.Command) { section("## "+name, name) })

	const path = "../../docs/commands.md"
	if *update {
		check(t, os.WriteFile(path, []byte(page.String()), 0o644))
	}
	written, err := os.ReadFile(path)
	check(t, err)
	if string(written) != page.String() {
		t.Errorf("%s is not what --help says: make docs writes it anew", path)
	}
}
