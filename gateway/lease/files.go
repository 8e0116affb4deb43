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
	Load func() (map[string][]byte, error) // those that are kept, by name
}

// Last are the files. Where they can't be read, it gives those that were published last
// beside the error: they must not keep a token back.
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
	return last.Files, err
}

// Files gives them in the order of their names. It never holds a token back.
func (f *Files) Files(uint64) ([]share.File, error) {
	files, err := f.Last()
	given := make([]share.File, 0, len(files)) // none is no failure
	for _, name := range slices.Sorted(maps.Keys(files)) {
		given = append(given, share.File{Name: name, Data: files[name]})
	}
	return given, err
}

// Due is never: who changes them has them published at once.
func (f *Files) Due() time.Time { return time.Time{} }
