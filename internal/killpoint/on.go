//go:build faults

// Package killpoint names the moments at which tests kill a gateway.
package killpoint

import (
	"os"
	"strings"
	"syscall"
)

// EnvFile is the environment variable for the path of a file. The file has the name of the
// moment at which the gateway has to kill itself. At removes the file first, so that it
// happens once.
const EnvFile = "OPENSHELL_FAULT_FILE"

// At kills the process if the file names this moment.
func At(point string) {
	path := os.Getenv(EnvFile)
	if path == "" {
		return
	}
	named, err := os.ReadFile(path)
	if err != nil || strings.TrimSpace(string(named)) != point || os.Remove(path) != nil {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // until SIGKILL takes effect
}

// Step returns a share.Options.Step that kills in the middle of a publish. The numbers are
// those of share.Publish.
func Step() func(int) {
	return func(step int) {
		switch step {
		case 6:
			At("mint-write")
		case 9:
			At("mint-commit")
		case 13:
			At("commit-announce")
		case 14:
			At("announce-prune")
		}
	}
}
