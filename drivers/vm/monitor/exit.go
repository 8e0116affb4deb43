package monitor

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"openshell-vm/drivers"
)

// Exit is how a sandbox ended. It is on disk before the workload's clients are
// told, so that a monitor or host that dies right after it loses nothing.
type Exit struct {
	State          drivers.State `json:"state"` // Exited, or Dead without an exit code
	ExitCode       int           `json:"exitCode"`
	Reason         string        `json:"reason,omitempty"` // one line, when something went wrong
	StartedAt      time.Time     `json:"startedAt,omitzero"`
	ExitedAt       time.Time     `json:"exitedAt"`
	SeenGeneration uint64        `json:"seenGeneration,omitempty"`
	Attempt        int           `json:"attempt,omitempty"` // of the boot
}

// ReadExit reads the exit of the sandbox whose directory is dir; it is
// os.ErrNotExist as long as there is none.
func ReadExit(dir string) (Exit, error) {
	var e Exit
	data, err := os.ReadFile(filepath.Join(dir, ExitFile))
	if err != nil {
		return e, err
	}
	return e, json.Unmarshal(data, &e)
}

func (e Exit) write(dir string) error { return writeJSON(filepath.Join(dir, ExitFile), e) }

// writeJSON replaces a file by a whole new one that survives a power cut.
func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(data, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
