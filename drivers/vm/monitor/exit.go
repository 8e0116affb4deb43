package monitor

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/internal/atomicfile"
	"openshell-vm/internal/plainfile"
	"openshell-vm/share/layout"
)

// Exit is how a sandbox ended. It is written to disk before the workload's clients are
// told, so a crash of the monitor or the host after that loses nothing.
type Exit struct {
	State          drivers.State `json:"state"` // Exited, or Dead without an exit code
	ExitCode       int           `json:"exitCode"`
	Reason         string        `json:"reason,omitempty"` // one line, when something went wrong
	StartedAt      time.Time     `json:"startedAt,omitzero"`
	ExitedAt       time.Time     `json:"exitedAt"`
	SeenGeneration uint64        `json:"seenGeneration,omitempty"`
	Attempt        int           `json:"attempt,omitempty"` // of the boot
}

// ReadExit reads the Exit of the sandbox whose directory is dir. The error is
// os.ErrNotExist as long as there is none.
func ReadExit(dir string) (Exit, error) {
	var e Exit
	data, err := plainfile.Read(filepath.Join(dir, ExitFile), maxFile)
	if err != nil {
		return e, err
	}
	err = json.Unmarshal(data, &e)
	return e.checked(), err // an older monitor did not check what its guest said
}

// checked turns an impossible exit code into Dead: the guest then told none.
func (e Exit) checked() Exit {
	if e.State != drivers.Exited || e.ExitCode >= 0 && e.ExitCode <= 255 {
		return e
	}
	e.State, e.Reason = drivers.Dead, fmt.Sprintf("the guest told an exit code that is none: %d", e.ExitCode)
	e.ExitCode = 0
	return e
}

func (e Exit) write(dir string) error {
	return atomicfile.WriteJSON(filepath.Join(dir, ExitFile), e, atomicfile.Durable)
}

// Generation returns the current generation of the share at auth; 0 if there is none.
func Generation(auth string) uint64 {
	target, err := os.Readlink(filepath.Join(auth, layout.Data))
	if err != nil {
		return 0
	}
	n, _ := layout.ParseGeneration(target)
	return n
}
