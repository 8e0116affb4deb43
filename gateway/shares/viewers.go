package shares

import (
	"context"
	"fmt"
	"path/filepath"

	"openshell-vm/internal/text"
)

// Viewer is one who has a share's directory mounted and runs.
type Viewer struct {
	Name   string
	PID    int // of one process that has it; 0 if none is known
	Target string
}

// Viewers returns who has a share's directory, authDir, mounted, as far as this user can see. silent
// are the engines that did not answer in time. What a container's engine and the kernel both tell is
// there twice.
func (s *Shares) Viewers(ctx context.Context, authDir string) (all []Viewer, silent []string) {
	real, err := filepath.EvalSymlinks(authDir)
	if err != nil {
		real = authDir
	}
	inEngines, silent := s.engineMounts(ctx, filepath.Dir(authDir))
	named := map[int]bool{}
	for _, m := range inEngines {
		if source := filepath.Clean(m.Source); m.Running && (source == authDir || source == real) {
			all = append(all, Viewer{"container " + text.Line(m.Object), m.PID, m.Target})
			named[m.PID] = true
		}
	}
	for _, m := range processMounts(filepath.Dir(authDir)) {
		if m.source == filepath.Base(authDir) && !named[m.pid] {
			all = append(all, Viewer{fmt.Sprintf("process %d (%s)", m.pid, text.Line(m.command)), m.pid, m.target})
		}
	}
	return all, silent
}
