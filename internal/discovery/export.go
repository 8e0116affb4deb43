package discovery

import (
	"os"
	"path/filepath"

	"openshell-vm/internal/atomicfile"
)

// File is one that Export wrote.
type File struct {
	Path string `json:"path"` // below the directory
	Type string `json:"type"` // the content type to serve it with
	What string `json:"what"` // in a few words
}

// Export writes the documents as files below dir, in the layout of a web server whose URL is
// the issuer's. Each replaces its predecessor by one rename, the keys first: no document leads
// to keys that are not there yet. Everybody may read them. bare adds a copy of the keys at the
// top, for a provider's form; browsers don't show directories that begin with a dot.
func Export(dir string, d Documents, bare bool) ([]File, error) {
	files := []File{{KeysPath[1:], KeysType, "the keys"}}
	data := [][]byte{d.Keys}
	if d.Configuration != nil {
		files, data = append(files, File{ConfigurationPath[1:], ConfigurationType, "the discovery document"}), append(data, d.Configuration)
	}
	if bare {
		files = append(files, File{filepath.Base(KeysPath), KeysType, "the keys again, for a form that takes a JWKS"})
		data = append(data, d.Keys)
	}
	for i, f := range files {
		if err := replace(filepath.Join(dir, f.Path), data[i]); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// replace writes a public file. Its temporary name lies beside it.
func replace(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	p, err := atomicfile.Create(filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new-*"))
	if err != nil {
		return err
	}
	defer p.Discard()
	if _, err := p.Write(data); err != nil {
		return err
	}
	if err := p.Chmod(0o644); err != nil {
		return err
	}
	return p.Commit(path, atomicfile.Whole)
}
