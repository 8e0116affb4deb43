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
		data, st, ok := f.Sources.content(spec)
		if !ok {
			if data, ok = published()[spec.Name]; !ok {
				failed = errors.Join(failed, errNothing(spec, st))
				continue
			}
		}
		all += len(data)
		files = append(files, share.File{Name: spec.Name, Data: data, Mode: fs.FileMode(spec.Mode), Later: true})
	}
	if all <= MaxAll {
		return files, failed
	}
	return kept(files, published()), errors.Join(failed, errTooMuch)
}

// kept returns the files with what the share holds of them, without those of which it holds
// nothing: one that has grown too much takes no other away.
func kept(files []share.File, held map[string][]byte) []share.File {
	list := make([]share.File, 0, len(files))
	for _, file := range files {
		if data, ok := held[file.Name]; ok {
			file.Data = data
			list = append(list, file)
		}
	}
	return list
}

// Due returns zero: who has something new says so.
func (f Shown) Due() time.Time { return time.Time{} }
