//go:build faults

package gateway

import (
	"os"
	"strings"
	"syscall"
)

// envFaultFile names a file with the name of the point at which the gateway is
// to kill itself, once: the file is removed first.
const envFaultFile = "OPENSHELL_FAULT_FILE"

// fault kills the gateway if the fault file names this point.
func fault(point string) {
	path := os.Getenv(envFaultFile)
	if path == "" {
		return
	}
	named, err := os.ReadFile(path)
	if err != nil || strings.TrimSpace(string(named)) != point || os.Remove(path) != nil {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // SIGKILL takes effect at any moment now
}

// faultStep kills in the middle of a publish: the numbers are share.Publish's.
func faultStep() func(int) {
	return func(step int) {
		switch step {
		case 6:
			fault("mint-write")
		case 9:
			fault("mint-commit")
		case 13:
			fault("commit-announce")
		case 14:
			fault("announce-prune")
		}
	}
}
