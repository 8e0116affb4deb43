// Package volumes keeps named volumes: directories in the state directory that sandboxes of
// all drivers may write to, and that stay when these are removed.
//
// A volume is a directory <state>/volumes/<name>, which only the gateway's user can enter. In
// it lies data, which is mounted. It belongs to that user and has mode 0755, as with docker's
// local driver; from then on it is its sandboxes'. There is no record of a volume: it is
// there if its directory is, and a sandbox's own record says that it uses it.
//
// What is promised: a volume that a sandbox's record names, or that one which is being made
// asks for, is not removed. Killed at any instruction, a removal leaves the volume as it was
// or gone, and what is left of it goes with the next start.
//
// What is not promised: nothing is copied into a new volume from an image, and nothing bounds
// what is written to it.
package volumes

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/roster"
	"openshell-vm/gateway/state"
)

// mode is the directory's that is mounted.
const mode = 0o755

// Volumes are those of one state directory. It is safe for concurrent use.
type Volumes struct {
	home   *state.Home
	roster *roster.Roster

	mu     sync.Mutex     // held while directories are made and renamed; no other lock but Roster.mu is taken in it
	claims map[string]int // how many creations that are under way want a volume
}

// New makes the volumes of a roster's state directory. It changes nothing on disk.
func New(r *roster.Roster) *Volumes {
	return &Volumes{home: r.Home, roster: r, claims: map[string]int{}}
}

// Create makes a volume. It leaves one that exists as it is.
func (v *Volumes) Create(name string) (api.Volume, error) {
	if name == "" {
		return api.Volume{}, &api.Error{Code: api.CodeInvalid, Message: "a volume needs a name", Hint: "openshell-vm volume create NAME"}
	}
	if err := state.CheckName(name); err != nil {
		return api.Volume{}, err
	}
	v.mu.Lock()
	_, err := v.make(name)
	v.mu.Unlock()
	if err != nil {
		return api.Volume{}, err
	}
	return v.Get(name)
}

// make makes what is missing of a volume's directories, and says whether that was all of
// them. The caller holds mu.
func (v *Volumes) make(name string) (created bool, err error) {
	dir, data := v.home.VolumeDir(name), v.home.VolumeData(name)
	_, err = os.Lstat(dir)
	created = errors.Is(err, fs.ErrNotExist)
	if err := errors.Join(state.MakeDir(v.home.Volumes()), state.MakeDir(dir)); err != nil {
		return false, err
	}
	if err := os.Mkdir(data, mode); err == nil {
		return created, os.Chmod(data, mode) // whatever the umask
	} else if !errors.Is(err, fs.ErrExist) {
		return false, err
	}
	return false, nil
}

// Claim makes the volumes among mounts that are missing, and keeps all of them from being
// removed until release is called. By then a sandbox's record has to name them. If made is
// false, no sandbox was made: a volume that Claim has made is removed again.
func (v *Volumes) Claim(mounts []api.Mount) (release func(made bool), err error) {
	var names, created []string
	release = func(made bool) {
		v.mu.Lock()
		defer v.mu.Unlock()
		for _, name := range names {
			if v.claims[name]--; v.claims[name] == 0 {
				delete(v.claims, name)
			}
		}
		for _, name := range created {
			if !made && v.claims[name] == 0 && len(v.users(name)) == 0 {
				// These fail if something is in them, which then stays.
				_ = errors.Join(os.Remove(v.home.VolumeData(name)), os.Remove(v.home.VolumeDir(name)))
			}
		}
	}
	for _, m := range mounts {
		if m.Volume == "" {
			continue
		}
		v.mu.Lock()
		isNew, err := v.make(m.Volume)
		if err == nil {
			v.claims[m.Volume]++
			names = append(names, m.Volume)
		}
		v.mu.Unlock()
		if isNew {
			created = append(created, m.Volume)
		}
		if err != nil {
			release(false)
			return nil, err
		}
	}
	return release, nil
}

// users returns the names of the sandboxes that have the volume mounted, or will have it when
// they are started.
func (v *Volumes) users(name string) (users []string) {
	for _, it := range v.roster.All() {
		r := it.Rec()
		if slices.ContainsFunc(r.Request.Mounts, func(m api.Mount) bool { return m.Volume == name }) {
			users = append(users, cmp.Or(r.Name, r.ID))
		}
	}
	slices.Sort(users)
	return users
}

// All returns every volume, by name.
func (v *Volumes) All() ([]api.Volume, error) {
	entries, err := os.ReadDir(v.home.Volumes())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	all := []api.Volume{}
	for _, e := range entries { // sorted
		if volume, err := v.Get(e.Name()); err == nil {
			all = append(all, volume)
		}
	}
	return all, nil
}

// Get returns one volume.
func (v *Volumes) Get(name string) (api.Volume, error) {
	missing := &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("there is no volume %q", name),
		Hint: "openshell-vm volume ls lists them"}
	if state.CheckName(name) != nil {
		return api.Volume{}, missing
	}
	// Nothing is made or removed beside data, so this time stays what it was then.
	info, err := os.Lstat(v.home.VolumeDir(name))
	if err == nil {
		_, err = os.Lstat(v.home.VolumeData(name))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return api.Volume{}, missing
	} else if err != nil {
		return api.Volume{}, err
	}
	return api.Volume{Name: name, Dir: v.home.VolumeData(name), CreatedAt: info.ModTime().UTC().Truncate(time.Second),
		UsedBy: v.users(name)}, nil
}

// Remove deletes a volume and all that is in it. It refuses one that a sandbox uses, also one
// that does not run. It can take long.
func (v *Volumes) Remove(name string) error {
	if _, err := v.Get(name); err != nil {
		return err
	}
	gone, err := v.takeAway(name)
	if err != nil {
		return err
	}
	if err := removeAll(gone); err != nil {
		return v.putBack(gone, name, err)
	}
	return nil
}

// goneMark begins the name of a volume that is being removed. No volume has such a name.
const goneMark = ".gone-"

// takeAway gives a volume that nobody uses another name.
func (v *Volumes) takeAway(name string) (gone string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.refuseUsed(name); err != nil {
		return "", err
	}
	gone = filepath.Join(v.home.Volumes(), goneMark+state.NewID())
	return gone, os.Rename(v.home.VolumeDir(name), gone)
}

// refuseUsed refuses a volume that is used, or that may be. The caller holds mu.
func (v *Volumes) refuseUsed(name string) error {
	conflict := func(message, hint string) error {
		return &api.Error{Code: api.CodeConflict, Message: message, Hint: hint}
	}
	if users := v.users(name); len(users) > 0 {
		return conflict(fmt.Sprintf("the volume %s is in use by %s", name, strings.Join(users, ", ")),
			"remove what uses it first: openshell-vm rm "+strings.Join(users, " "))
	}
	if v.claims[name] > 0 {
		return conflict(fmt.Sprintf("the volume %s is in use by a sandbox that is being made", name), "openshell-vm ps -a shows it")
	}
	if unread := v.roster.Unread(api.KindSandbox); len(unread) > 0 {
		return conflict(fmt.Sprintf("the volume %s may be in use: the record of sandbox %s can't be read", name, unread[0].ID),
			"see what is wrong with it: openshell-vm ps -a")
	}
	return nil
}

// putBack gives a volume that could not be deleted its name back, with what is left in it.
func (v *Volumes) putBack(gone, name string, why error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	dir := v.home.VolumeDir(name)
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		_ = os.Rename(gone, dir) // if that fails, it goes with the next start
	}
	hint := "see what is in " + dir
	if os.Geteuid() != 0 && errors.Is(why, fs.ErrPermission) {
		hint = "files of other users of a container are in it: podman unshare rm -rf " + filepath.Join(dir, "data") + ", then once more"
	}
	return &api.Error{Code: api.CodeInternal, Message: fmt.Sprintf("remove the volume %s: %v", name, rootCause(why)), Hint: hint}
}

// rootCause is the last error, without the path by which it was found.
func rootCause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return fmt.Errorf("%s %s: %w", path.Op, filepath.Base(path.Path), path.Err)
	}
	return err
}

// Tidy deletes what removals have left that were interrupted.
func (v *Volumes) Tidy() error {
	entries, err := os.ReadDir(v.home.Volumes())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), goneMark) {
			err = errors.Join(err, removeAll(filepath.Join(v.home.Volumes(), e.Name())))
		}
	}
	return err
}

// removeAll deletes a directory with all that is in it, directories too that their owner may
// not write to.
func removeAll(dir string) error {
	err := os.RemoveAll(dir)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	root, failed := os.OpenRoot(dir)
	if failed != nil {
		return err
	}
	defer root.Close()
	// WalkDir lists a directory only after the call for it.
	_ = fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			_ = root.Chmod(name, 0o700) // what fails shows below
		}
		return nil
	})
	return os.RemoveAll(dir)
}
