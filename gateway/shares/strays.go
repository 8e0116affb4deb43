package shares

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

// strayDeadline bounds one engine's answer on who mounts what.
const strayDeadline = 3 * time.Second

// Strays warns of mounts of something inside a share: a single file, or a generation's
// directory. Such a mount keeps what was there when it was made; no renewal reaches it.
// Strays sees only what this user may see.
func (s *Shares) Strays(ctx context.Context, authDir string) (warnings []string) {
	inEngines, _ := s.engineMounts(ctx, authDir)
	for _, m := range inEngines {
		warnings = append(warnings, fmt.Sprintf("container %s has %s mounted at %s, which no renewal reaches: mount the directory %s",
			text.Line(m.Object), text.Line(inShare(m.Source, authDir)), text.Line(m.Target), authDir))
	}
	if len(warnings) > 0 {
		return warnings // mounts of processes would mostly be those of these containers
	}
	for _, m := range processMounts(authDir) {
		warnings = append(warnings, fmt.Sprintf("process %d (%s) has %s mounted at %s, which no renewal reaches: mount the directory %s",
			m.pid, text.Line(m.command), text.Line(m.source), text.Line(m.target), authDir))
	}
	return warnings
}

// usersOf returns what has a share's directory, or something in it, mounted now, as far as
// this user can see. silent are the engines that did not answer in time. Engines are asked
// even if no process has a mount, because their processes may be in another pid namespace.
func (s *Shares) usersOf(ctx context.Context, dir string) (users, silent []string) {
	processes := processMounts(dir)
	inEngines, silent := s.engineMounts(ctx, dir)
	for _, m := range inEngines {
		if m.Running {
			users = append(users, fmt.Sprintf("container %s has it mounted at %s", text.Line(m.Object), text.Line(m.Target)))
		}
	}
	if len(users) > 0 {
		return users, silent // mounts of processes would mostly be those of these containers
	}
	for _, m := range processes {
		users = append(users, fmt.Sprintf("process %d (%s) has it mounted at %s", m.pid, text.Line(m.command), text.Line(m.target)))
	}
	return users, silent
}

// inShare returns a path relative to the share's directory.
func inShare(source, authDir string) string {
	if rel, err := filepath.Rel(authDir, source); err == nil {
		return rel
	}
	return source
}

// engineMounts asks every Surveyor for mounts inside authDir, those of stopped containers
// included. silent are the engines that did not answer in time. An engine that failed at
// once is taken to be absent, and so to have no mounts.
func (s *Shares) engineMounts(ctx context.Context, authDir string) (all []drivers.Mounting, silent []string) {
	for _, name := range slices.Sorted(maps.Keys(s.surveyors)) {
		bounded, cancel := context.WithTimeout(ctx, strayDeadline)
		found, err := s.surveyors[name].Mounting(bounded, authDir)
		late := bounded.Err() != nil
		cancel()
		switch {
		case err == nil:
			all = append(all, found...)
		case late:
			silent = append(silent, name)
		}
	}
	return all, silent
}

// strayMount is a mount of something inside a share, with one process that has it.
type strayMount struct {
	pid            int
	command        string
	source, target string
}

// place is a directory, as mount tables name it.
type place struct{ device, path string }

// processMounts reads the mount table of every process. It returns each mount once, though
// all processes of its mount namespace have it. A process that has something below one of the
// directories in without mounted, too, is left out.
func processMounts(authDir string, without ...string) (found []strayMount) {
	device, inFS, err := mounts.Locate(authDir)
	if err != nil {
		return nil
	}
	var places []place
	for _, dir := range without {
		if device, path, err := mounts.Locate(dir); err == nil {
			places = append(places, place{device, path})
		}
	}
	left := func(m mounts.Entry) bool {
		return slices.ContainsFunc(places, func(p place) bool { return m.Device == p.device && mounts.Below(m.Root, p.path) })
	}
	seen := map[string]bool{}
	for _, pid := range procfs.PIDs() {
		table, err := mounts.Read(procfs.Path(pid, "mountinfo"))
		if err != nil {
			continue // it has ended
		}
		if len(places) > 0 && slices.ContainsFunc(table, left) {
			continue
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
