package state

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/peer"
)

// Hidden returns the directories that no sandbox may see: this gateway's, the cache, and those
// of the user's other gateways, as far as they are known. A gateway's socket in there would obey a
// sandbox that runs as the user.
func (p Places) Hidden() []string {
	hidden := []string{p.State, p.Runtime, p.Cache()}
	if usual, err := api.UsualStateDir(); err == nil {
		hidden = append(hidden, usual)
	}
	links, _ := filepath.Glob(filepath.Join(filepath.Dir(p.Runtime), "*", stateLink)) // the pattern is good
	for _, link := range links {
		runtime := filepath.Dir(link)
		if peer.CheckDir(runtime) != nil { // anybody could have made that link
			continue
		}
		hidden = append(hidden, runtime)
		if state, err := os.Readlink(link); err == nil && filepath.IsAbs(state) {
			hidden = append(hidden, state)
		}
	}
	var once []string
	for _, dir := range hidden {
		if !slices.Contains(once, dir) {
			once = append(once, dir)
		}
	}
	return once
}

// replaceLink makes path a link to target.
func replaceLink(target, path string) error {
	if now, err := os.Readlink(path); err == nil && now == target {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(target, path)
}
