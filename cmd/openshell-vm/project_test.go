package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestConsentOnTerminal: what a project file asks of the host is shown, harmlessly, and nothing is
// done before it is answered.
func TestConsentOnTerminal(t *testing.T) {
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "openshell.toml"),
		[]byte(`exec = { gh = "gh auth token \u001b]0;evil\u0007" }`+"\n"+`command = ["echo", "it ran"]`+"\n"), 0o600))
	for typed, code := range map[string]int{"n\r": 125, "\r": 125, "y\r": 0} {
		term := onTerminal(t, "up", "-f", dir)
		term.sees("runs on this host, as you: gh auth token")
		term.sees("Go on? [y/N]")
		term.types(typed)
		if code == 0 {
			term.sees("it ran")
		} else {
			term.sees("nothing was done")
		}
		term.ends(code)
		for _, bad := range []string{"\x1b]", "\x07"} {
			if shown := term.screen.String(); strings.Contains(shown, bad) {
				t.Errorf("the terminal got %q: %q", bad, shown)
			}
		}
	}
}
