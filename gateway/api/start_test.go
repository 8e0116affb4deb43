package api

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestStartOtherVersion has a gateway of another version, which may not know the command
// that starts it. The error has to say so; the gateway's own text would not help.
func TestStartOtherVersion(t *testing.T) {
	world(t)
	for _, printed := range []string{ // by 99b2efc; by this version, of a command that it does not know
		`openshell-gateway: unexpected argument "start"\nhint: openshell-gateway --help lists the flags`,
		`openshell-gateway: there is no command "start"\nhint: openshell-gateway --help lists the commands and flags`,
	} {
		program := filepath.Join(t.TempDir(), "openshell-gateway")
		script := fmt.Sprintf("#!/bin/sh\nprintf '%s\\n' >&2\nexit 125\n", printed)
		must(t, os.WriteFile(program, []byte(script), 0o755))
		_, err := EnsureStarted(t.Context(), program)
		refusal(t, err, program+" is of another version", "programs together")
	}
}
