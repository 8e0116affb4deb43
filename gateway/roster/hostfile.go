package roster

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"openshell-vm/gateway/state"
	"openshell-vm/internal/follow"
	"openshell-vm/internal/inode"
	"openshell-vm/internal/vocab"
)

// MayFollow refuses files of the host that must get into no share: those of the gateway's own, and
// those that a sandbox could write or lead elsewhere. It asks the file systems, and may hang with
// them.
func (r *Roster) MayFollow(paths ...string) error {
	refused := map[inode.ID]string{}
	for m, name := range r.writables() {
		r.refuse(refused, name, m)
	}
	for _, dir := range r.Home.Hidden() {
		if id, err := inode.Of(dir); err == nil {
			refused[id] = "it lies in the gateway's own directory " + dir
		}
	}
	for _, path := range paths {
		if err := judge(path, refused); err != nil {
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
// share follows.
func (r *Roster) MayWrite(mounts []vocab.Mount, rootfs string, ephemeral bool) error {
	refused, above := map[inode.ID]string{}, map[inode.ID]string{}
	for _, m := range writable(mounts, rootfs, ephemeral) {
		r.refuse(refused, "", m)
		r.ancestors(above, m)
	}
	if len(refused) == 0 {
		return nil
	}
	for _, it := range r.All() {
		for _, path := range followed(it.Rec().Request) {
			err := judge(path, refused)
			if id, of := inode.Of(path); err == nil && of == nil && above[id] != "" {
				err = errors.New(above[id])
			}
			if err != nil {
				return fmt.Errorf("%s is followed for %s: %w", path, it.Rec().Name, err)
			}
		}
	}
	return nil
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

// refuse adds the directory, or the file, of a writable mount to those that hold nothing to follow.
func (r *Roster) refuse(refused map[inode.ID]string, name string, m vocab.Mount) {
	if !m.Writable {
		return
	}
	m.Source = r.source(m)
	if id, err := inode.Of(m.Source); err == nil {
		refused[id] = fmt.Sprintf("it lies in %s, which sandbox %s can write to", m.Source, name)
		if name == "" {
			refused[id] = fmt.Sprintf("it lies in %s, which this sandbox could write to", m.Source)
		}
	}
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
func (r *Roster) ancestors(above map[inode.ID]string, m vocab.Mount) {
	if !m.Writable {
		return
	}
	path, err := filepath.EvalSymlinks(r.source(m))
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

// judge refuses a path that leads through one of these directories, by their identity: a bind
// mount or a symbolic link changes nothing.
func judge(path string, refused map[inode.ID]string) error {
	locations, _ := follow.Locations(path) // a loop leads nowhere
	for _, location := range locations {
		for dir := location; ; dir = filepath.Dir(dir) {
			if id, err := inode.Of(dir); err == nil && refused[id] != "" {
				return errors.New(refused[id])
			}
			if dir == "/" {
				break
			}
		}
	}
	return nil
}
