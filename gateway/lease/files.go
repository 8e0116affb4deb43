package lease

import (
	"errors"
	"maps"
	"slices"
	"time"

	"openshell-vm/internal/contract"
	"openshell-vm/share"
)

// Files is the source of the user's files, which are published with each token.
type Files struct {
	Auth string                            // the share's auth directory
	Load func() (map[string][]byte, error) // reads the stored files, by name
	Ours func() []string                   // further files in the share that are not the user's; nil for none
}

// Last returns the files. If they can't be read, it returns the error and the files that
// were published last, so that the token can still be published.
func (f *Files) Last() (map[string][]byte, error) {
	files, err := f.Load()
	if err == nil {
		return files, nil
	}
	last, readErr := share.Read(f.Auth)
	if readErr != nil {
		return nil, errors.Join(err, readErr)
	}
	delete(last.Files, contract.TokenName)
	delete(last.Files, contract.MetadataName)
	if f.Ours != nil {
		for _, name := range f.Ours() {
			delete(last.Files, name)
		}
	}
	return last.Files, err
}

// Files returns the files, sorted by name. It never returns nil files, so its error never
// stops a publish.
func (f *Files) Files(uint64) ([]share.File, error) {
	files, err := f.Last()
	given := make([]share.File, 0, len(files)) // none is no failure
	for _, name := range slices.Sorted(maps.Keys(files)) {
		given = append(given, share.File{Name: name, Data: files[name]})
	}
	return given, err
}

// Due returns zero, never: whoever changes the files publishes them at once.
func (f *Files) Due() time.Time { return time.Time{} }
