package gateway

import (
	"context"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/internal/mounts"
	"openshell-vm/internal/procfs"
	"openshell-vm/internal/text"
)

// strayDeadline bounds how long the engines are asked for who mounts what.
const strayDeadline = 3 * time.Second

// strays warns of mounts of something inside a share: a single file, or a
// generation's directory. Such a mount holds what was there when it was made, and
// a renewal never reaches it. It finds what this user may see.
func (g *Gateway) strays(ctx context.Context, authDir string) (warnings []string) {
	for _, m := range g.engineMounts(ctx, authDir) {
		warnings = append(warnings, fmt.Sprintf("container %s has %s mounted at %s, which no renewal reaches: mount the directory %s",
			text.Line(m.Object), text.Line(inShare(m.Source, authDir)), text.Line(m.Target), authDir))
	}
	if len(warnings) > 0 {
		return warnings // the processes are those of these containers
	}
	for _, m := range processMounts(authDir) {
		warnings = append(warnings, fmt.Sprintf("process %d (%s) has %s mounted at %s, which no renewal reaches: mount the directory %s",
			m.pid, text.Line(m.command), text.Line(m.source), text.Line(m.target), authDir))
	}
	return warnings
}

// usersOf tells who has a share's directory, or something in it, mounted at this moment,
// as far as it can be seen. Whoever sees everybody's processes needs no engine but for the
// containers' names.
func (g *Gateway) usersOf(ctx context.Context, dir string, seesAll bool) (users []string) {
	processes := processMounts(dir)
	if len(processes) == 0 && seesAll {
		return nil
	}
	for _, m := range g.engineMounts(ctx, dir) {
		if m.Running {
			users = append(users, fmt.Sprintf("container %s has it mounted at %s", text.Line(m.Object), text.Line(m.Target)))
		}
	}
	if len(users) > 0 {
		return users // the processes are those of these containers
	}
	for _, m := range processes {
		users = append(users, fmt.Sprintf("process %d (%s) has it mounted at %s", m.pid, text.Line(m.command), text.Line(m.target)))
	}
	return users
}

// atMost lists the first of them.
func atMost(list []string, n int) string {
	if len(list) > n {
		list = append(slices.Clip(list[:n]), fmt.Sprintf("and %d more", len(list)-n))
	}
	return strings.Join(list, ", ")
}

// inShare is a path as seen from the share's directory.
func inShare(source, authDir string) string {
	if rel, err := filepath.Rel(authDir, source); err == nil {
		return rel
	}
	return source
}

// engineMounts asks every engine that runs containers of others, stopped ones too.
func (g *Gateway) engineMounts(ctx context.Context, authDir string) (all []drivers.Mounting) {
	ctx, cancel := context.WithTimeout(ctx, strayDeadline)
	defer cancel()
	for _, name := range slices.Sorted(maps.Keys(g.drivers)) {
		if s, ok := g.drivers[name].(drivers.Surveyor); ok {
			found, err := s.Mounting(ctx, authDir)
			if err != nil {
				continue // it has no containers that could be told of
			}
			all = append(all, found...)
		}
	}
	return all
}

// strayMount is a mount of something inside a share, seen from one process that
// has it.
type strayMount struct {
	pid            int
	command        string
	source, target string
}

// processMounts looks into the mount table of every process. One of each mount
// namespace is told.
func processMounts(authDir string) (found []strayMount) {
	device, inFS, err := mounts.Locate(authDir)
	if err != nil {
		return nil
	}
	seen := map[string]bool{}
	for _, pid := range procfs.PIDs() {
		table, err := mounts.Read(procfs.Path(pid, "mountinfo"))
		if err != nil {
			continue // it has ended
		}
		for _, m := range table {
			root := strings.TrimSuffix(m.Root, "//deleted")
			key := fmt.Sprint(m.ID, root, m.Point)
			if m.Device != device || !mounts.Below(root, inFS) || seen[key] {
				continue
			}
			seen[key] = true
			source := strings.TrimPrefix(root, strings.TrimSuffix(inFS, "/")+"/")
			if root != m.Root {
				source += " (deleted)"
			}
			found = append(found, strayMount{pid, procfs.Word(pid, "comm"), path.Clean(source), m.Point})
		}
	}
	return found
}
