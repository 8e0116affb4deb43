package monitor

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"openshell-vm/internal/rotlog"
)

// NewLogger returns a logger that appends to LogFile in the sandbox's directory dir, within a
// bound: a guest can make its monitor log for as long as it runs. If that can't be opened, it
// writes to standard error, which the driver has made the same file.
func NewLogger(dir string) *slog.Logger {
	var out io.Writer = os.Stderr
	if log, err := rotlog.Open(filepath.Join(dir, LogFile), rotlog.Options{Max: ownLogSize, Count: 2, Append: true}); err == nil {
		out = log
	}
	return slog.New(slog.NewTextHandler(out, nil))
}
