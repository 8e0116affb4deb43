package shares

import (
	"context"
	"fmt"
	"path/filepath"

	"openshell-vm/gateway/roster"
	"openshell-vm/internal/text"
)

// Viewer is one who has a share's directory mounted and runs.
type Viewer struct {
	Name   string
	PID    int // of one process that has it; 0 if none is known
	Target string
}

// Viewers returns who has a share's directory, authDir, mounted, as far as this user can see, without
// what belongs to some sandboxes. silent are the engines that did not answer in time. What a
// container's engine and the kernel both tell is there twice.
//
// A sandbox's container is told by its engine's own id. A process is a sandbox's if it has the
// sandbox's own share mounted, too: nobody else can enter the directory above that.
func (s *Shares) Viewers(ctx context.Context, authDir string, without []*roster.Item) (all []Viewer, silent []string) {
	objects, dirs := map[string]bool{}, []string{}
	for _, box := range without {
		if object := box.Rec().Object; object != "" {
			objects[object] = true
		}
		dirs = append(dirs, box.Lease.Share().Dir())
	}

	real, err := filepath.EvalSymlinks(authDir)
	if err != nil {
		real = authDir
	}
	inEngines, silent := s.engineMounts(ctx, filepath.Dir(authDir))
	named := map[int]bool{}
	for _, m := range inEngines {
		if source := filepath.Clean(m.Source); m.Running && !objects[m.ID] && (source == authDir || source == real) {
			all = append(all, Viewer{"container " + text.Line(m.Object), m.PID, m.Target})
			named[m.PID] = true
		}
	}
	for _, m := range processMounts(filepath.Dir(authDir), dirs...) {
		if m.source == filepath.Base(authDir) && !named[m.pid] {
			all = append(all, Viewer{fmt.Sprintf("process %d (%s)", m.pid, text.Line(m.command)), m.pid, m.target})
		}
	}
	return all, silent
}
