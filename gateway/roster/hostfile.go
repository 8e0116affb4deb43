package roster

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"openshell-vm/gateway/state"
	"openshell-vm/internal/inode"
	"openshell-vm/internal/vocab"
	"openshell-vm/internal/whichdir"
)

// MayFollow refuses files of the host that must get into no share: those of the gateway's own, and
// those that a sandbox could write or lead elsewhere. It asks the file systems of these files, and
// may hang with them; those of what sandboxes can write to hold it up for three seconds at most.
func (r *Roster) MayFollow(paths ...string) error {
	no := r.untouchable()
	for _, path := range paths {
		if err := no.judge(path); err != nil {
			return err
		}
	}
	return nil
}

// writable returns a sandbox's mounts, and its root if that is a directory of the host to which
// it writes.
func writable(mounts []vocab.Mount, rootfs string, ephemeral bool) []vocab.Mount {
	if rootfs == "" || ephemeral {
		return mounts
	}
	return append(slices.Clip(mounts), vocab.Mount{Source: rootfs, Target: "/", Writable: true})
}

// MayWrite refuses mounts of a new sandbox, and a root, by which it could write to a file that a
// share follows. A file whose file system does not answer is left to MayFollow, which is asked
// before it is next read.
func (r *Roster) MayWrite(mounts []vocab.Mount, rootfs string, ephemeral bool) error {
	var dirs []string
	for _, m := range writable(mounts, rootfs, ephemeral) {
		if m.Writable {
			dirs = append(dirs, r.source(m))
		}
	}
	if len(dirs) == 0 {
		return nil
	}
	no, above := refusals{}, map[inode.ID]string{}
	for i, answer := range r.asker.Ask(dirs...) {
		switch {
		case answer.Hangs != "":
			return fmt.Errorf("the file system of %s does not answer", dirs[i])
		case answer.Err == nil:
			no.add(answer, fmt.Sprintf("it lies in %s, which this sandbox could write to", dirs[i]))
			ancestors(above, dirs[i])
		}
	}
	dead := map[string]bool{}
	for _, it := range r.All() {
		for _, path := range followed(it.Rec().Request) {
			if err := r.lies(path, no, above, dead); err != nil {
				return fmt.Errorf("%s is followed for %s: %w", path, it.Rec().Name, err)
			}
		}
	}
	return nil
}

// lies refuses a followed path that is refused, or is above what is. Of the devices that do not
// answer none is asked twice.
func (r *Roster) lies(path string, no refusals, above map[inode.ID]string, dead map[string]bool) error {
	if len(dead) > 0 && dead[whichdir.DeviceAt(path)] {
		return nil
	}
	answer := r.asker.Ask(path)[0]
	if answer.Hangs != "" {
		dead[answer.Hangs] = true
		return nil
	}
	if answer.Err == nil && above[answer.ID] != "" {
		return errors.New(above[answer.ID])
	}
	return no.judge(path)
}

// followed returns the files of the host that a share is made of. A command's are judged each time
// that it runs.
func followed(q state.Request) (paths []string) {
	if q.Tokens.Static != "" {
		paths = append(paths, q.Tokens.Static)
	}
	for _, s := range q.Sources {
		switch {
		case s.File != "":
			paths = append(paths, s.File)
		case s.OAuth != "":
			paths = append(paths, s.OAuth)
		case s.GitHubApp != nil:
			paths = append(paths, s.GitHubApp.Key)
		}
	}
	return paths
}

// source is the directory of the host, or the file, that a mount shows.
func (r *Roster) source(m vocab.Mount) string {
	if m.Volume != "" {
		return r.Home.VolumeData(m.Volume)
	}
	return m.Source
}

// ancestors adds the directories that a new sandbox's writable mount lies in: if one of them is
// followed as a whole, the sandbox could write to a part of it.
func ancestors(above map[inode.ID]string, mount string) {
	path, err := filepath.EvalSymlinks(mount)
	if err != nil {
		return
	}
	for dir := path; dir != "/"; {
		dir = filepath.Dir(dir)
		if id, err := inode.Of(dir); err == nil {
			above[id] = fmt.Sprintf("%s lies in it, to which this sandbox could write", path)
		}
	}
}
