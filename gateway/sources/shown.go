package sources

import (
	"errors"
	"fmt"
	"io/fs"
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
	var published map[string][]byte
	var failed error
	left := MaxAll
	for _, spec := range f.List {
		if f.Sources.withdrawn(spec) {
			continue // what the share holds of it has to go
		}
		data, st, ok := f.Sources.content(spec)
		if !ok {
			if published == nil {
				last, _ := share.Read(f.Auth) // an error means that it holds nothing
				published = last.Files
			}
			if data, ok = published[spec.Name]; !ok {
				failed = errors.Join(failed, errNothing(spec, st))
				continue
			}
		}
		if left -= len(data); left < 0 {
			failed = errors.Join(failed, fmt.Errorf("%s: %w: at most %d MiB", spec.Name, errTooMuch, MaxAll>>20))
			break
		}
		files = append(files, share.File{Name: spec.Name, Data: data, Mode: fs.FileMode(spec.Mode), Later: true})
	}
	return files, failed
}

// Due returns zero: who has something new says so.
func (f Shown) Due() time.Time { return time.Time{} }
