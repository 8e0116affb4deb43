package daemon

import (
	"log/slog"
	"path/filepath"

	"openshell-vm/gateway/state"
	"openshell-vm/internal/rotlog"
)

// maxLog bounds the log in bytes; one older file of that size is kept.
const maxLog = 4 << 20

// LogTo opens the log in the state directory, which must exist. Callers log no token and no
// key.
func LogTo(stateDir string, level slog.Level) (*slog.Logger, error) {
	f, err := rotlog.Open(filepath.Join(stateDir, state.LogFile), rotlog.Options{Max: maxLog, Count: 2, Append: true})
	if err != nil {
		return nil, err
	}
	return slog.New(slog.NewTextHandler(f, &slog.HandlerOptions{Level: level})), nil
}
