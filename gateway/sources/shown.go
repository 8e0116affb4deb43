package sources

import (
	"errors"
	"io/fs"
	"sync"
	"time"

	"openshell-vm/internal/vocab"
	"openshell-vm/share"
)

// Shown is the lease's source of the files that have sources.
type Shown struct {
	Sources *Sources
	List    []vocab.Source
	Auth    string // the share's auth directory
}

// Files returns what each source gave last, or, if it gave nothing yet, what the share holds. It
// never returns nil files, so that its error stops no publish.
func (f Shown) Files(uint64) ([]share.File, error) {
	files := make([]share.File, 0, len(f.List))
	published := sync.OnceValue(func() map[string][]byte {
		last, _ := share.Read(f.Auth) // an error means that it holds nothing
		return last.Files
	})
	var failed error
	all := 0
	for _, spec := range f.List {
		if f.Sources.withdrawn(spec) {
			continue // what the share holds of it has to go
		}
		given, st, ok := f.Sources.content(spec)
		if !ok {
			if given = Held(published(), spec.Name); given == nil {
				failed = errors.Join(failed, errNothing(spec, st))
				continue
			}
		}
		all += given.size()
		list, err := shown(spec, given)
		if list == nil {
			list, _ = shown(spec, Held(published(), spec.Name))
		}
		files, failed = append(files, list...), errors.Join(failed, err)
	}
	if all <= MaxAll && len(files) <= MaxNames {
		return files, failed
	}
	return f.kept(published()), errors.Join(failed, errTooMuch)
}

// kept returns what the share holds of each source: one that has grown too much takes no other
// away.
func (f Shown) kept(held map[string][]byte) []share.File {
	files := make([]share.File, 0, len(f.List))
	for _, spec := range f.List {
		if !f.Sources.withdrawn(spec) {
			list, _ := shown(spec, Held(held, spec.Name))
			files = append(files, list...)
		}
	}
	return files
}

// Due returns zero: who has something new says so.
func (f Shown) Due() time.Time { return time.Time{} }

// shown is a source's files as its share is to have them. If one can't be published under its name, they
// are none; if they can't be given to their owner any more, they are the gateway's. The error says so.
func shown(spec vocab.Source, files Files) ([]share.File, error) {
	list := files.In(spec.Name)
	err := mayGive(spec.Owner)
	for i := range list {
		if bad := share.CheckName(list[i].Name); bad != nil {
			return nil, bad
		}
		list[i].Mode, list[i].Later = fs.FileMode(spec.Mode), true
		if spec.Owner != nil && err == nil {
			list[i].Owner = &share.Owner{UID: int(spec.Owner.UID), GID: int(spec.Owner.GID)}
		}
	}
	return list, err
}
