package source

import (
	"context"
	"errors"
	"io/fs"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"openshell-vm/internal/fault"
	"openshell-vm/internal/plainfile"
)

// Options are what Gather needs of its host.
type Options struct {
	TempDir string // for a copy of what an engine has
	Getenv  func(string) string
	// Has reports whether the caller has an image of that ID. If so, an engine's is not copied.
	Has func(id v1.Hash) bool
}

// Given is what Find is given of the host. So Find can do with the source alone: it opens no
// file of the user's, runs no program, and asks no engine.
type Given struct {
	Login Login  `json:"login,omitzero"` // for the registry
	ID    string `json:"id,omitempty"`   // sha256:… of what an engine has
	Dir   string `json:"dir,omitempty"`  // where a directory is; "" for where the reference says

	File    *os.File `json:"-"` // the archive, or a copy of what an engine has; nil if the caller has that
	TempDir string   `json:"-"` // for an archive that is compressed
}

// Close closes the archive.
func (g Given) Close() error {
	if g.File == nil {
		return nil
	}
	return g.File.Close()
}

// Gather finds what Find has to be given. It reads nothing that an image's maker has written:
// login files and what their helper programs say, and an engine's answers.
func Gather(ctx context.Context, r Reference, o Options) (Given, error) {
	switch r.Kind {
	case Registry:
		login, err := findLogin(ctx, r, o.Getenv)
		return Given{Login: login}, err
	case OCI:
		return Given{}, checkDir(r.Path)
	case OCIArchive, DockerArchive:
		f, err := plainfile.Open(r.Path, os.O_RDONLY, 0)
		if errors.Is(err, fs.ErrNotExist) {
			err = &fault.Error{Err: err, Hint: "give the file that docker save or podman save has made"}
		}
		return Given{File: f}, err
	}
	return copyFromEngine(ctx, r, o)
}

func checkDir(path string) error {
	root, err := os.OpenRoot(path)
	if err != nil {
		return &fault.Error{Err: err, Hint: "give a directory with an OCI layout, as skopeo or buildah makes it"}
	}
	return root.Close()
}
