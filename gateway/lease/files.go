package lease

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"openshell-vm/internal/contract"
	"openshell-vm/share"
)

// Files is the source of the user's files, which are published with each token.
type Files struct {
	Auth string                            // the share's auth directory
	Load func() (map[string][]byte, error) // reads the stored files, by name
	// Ours reports whether a further file in the share is not the user's; nil for none. listed
	// are the tokens' files, as that generation's own metadata has them.
	Ours func(name string, data []byte, listed []string) bool
}

// Last returns the files. If they can't be read, it returns the error and the files that
// were published last, so that the token can still be published. What the gateway made is not among them, even if
// nobody wants it any more: a token or a source that was dropped must not come back as a file.
func (f *Files) Last() (map[string][]byte, error) {
	files, err := f.Load()
	if err == nil {
		return files, nil
	}
	last, readErr := share.Read(f.Auth)
	if readErr != nil {
		return nil, errors.Join(err, readErr)
	}
	listed, sourced := listedIn(last)
	maps.DeleteFunc(last.Files, func(name string, data []byte) bool {
		return name == contract.TokenName || name == contract.MetadataName || slices.Contains(listed, name) ||
			sourced(name) || f.Ours != nil && f.Ours(name, data, listed)
	})
	return last.Files, err
}

// listedIn returns the files of the tokens that a generation's metadata has, and which files are of
// a source that it has. An older gateway's has none.
func listedIn(generation share.Snapshot) (tokens []string, sourced func(name string) bool) {
	var metadata contract.Metadata
	_ = json.Unmarshal(generation.Files[contract.MetadataName], &metadata)
	for _, t := range metadata.Tokens {
		tokens = append(tokens, t.File)
	}
	return tokens, func(name string) bool {
		return slices.ContainsFunc(metadata.Sources, func(s contract.SourceMetadata) bool {
			return name == s.File || strings.HasPrefix(name, s.File+"/")
		})
	}
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
