package source

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"openshell-vm/internal/fault"
)

// Image is an image that was found. Nothing of its layers has been read yet.
type Image struct {
	ID     v1.Hash // of the configuration, as in "docker images"
	Digest v1.Hash // of the manifest; zero if there is none, as in an archive of docker save
	Config []byte  // checked by ID
	Layers []Layer // the lowest first
	close  func() error
}

// Layer is one layer as the source has it, perhaps compressed.
type Layer struct {
	Digest v1.Hash // of what Open reads; zero if not known
	Size   int64   // of what Open reads; -1 if not known
	DiffID v1.Hash // of the archive
	// Open reads the layer from that byte on. If the source can't begin there, it says so
	// by another begin, which is 0 then. What it reads is not checked.
	Open func(ctx context.Context, from int64) (body io.ReadCloser, begin int64, err error)
	// Remote says that reading it takes a network, and is better done once.
	Remote bool
}

// Close gives up what the source held, such as temporary files.
func (i *Image) Close() error {
	if i.close == nil {
		return nil
	}
	return i.close()
}

// Find finds the image, by what Gather has found. It is for this host's architecture. An
// archive is the Image's then, and Close closes it; after an error it is still the caller's.
func Find(ctx context.Context, r Reference, g Given) (*Image, error) {
	switch r.Kind {
	case Registry:
		return findRemote(ctx, r, g.Login)
	case OCI:
		return findDir(r, cmp.Or(g.Dir, r.Path))
	}
	return findArchive(r, g)
}

const (
	// maxManifest and maxConfig bound what describes an image, in bytes.
	maxManifest = 4 << 20
	maxConfig   = 4 << 20
	// maxLayers bounds all layers of an image together, in bytes. Unpacked they may not have
	// more, either.
	maxLayers = 256 << 30
)

// made makes an Image of a manifest's parts, and checks what they say of each other.
func made(digest v1.Hash, config []byte, id v1.Hash, layers []Layer) (*Image, error) {
	var c v1.ConfigFile
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("its configuration can't be read: %w", err)
	}
	if len(c.RootFS.DiffIDs) != len(layers) {
		return nil, fmt.Errorf("its configuration names %d layers, its manifest %d", len(c.RootFS.DiffIDs), len(layers))
	}
	if c.OS != "" && c.OS != "linux" || c.Architecture != "" && c.Architecture != runtime.GOARCH {
		return nil, wrongPlatform(c.OS + "/" + c.Architecture)
	}
	for i := range layers {
		layers[i].DiffID = c.RootFS.DiffIDs[i]
		if layers[i].DiffID.Algorithm != "sha256" {
			return nil, fmt.Errorf("layer %d has the digest %.80q", i, layers[i].DiffID)
		}
	}
	return &Image{ID: id, Digest: digest, Config: config, Layers: layers}, nil
}

// wrongPlatform refuses an image for other machines.
func wrongPlatform(has string) error {
	return &fault.Error{Err: fmt.Errorf("it is for %s, this host runs linux/%s", has, runtime.GOARCH),
		Hint: "use an image for linux/" + runtime.GOARCH}
}

// readManifest reads a manifest, or the one for this host if it is an index. get reads what
// has a digest, and checks it.
func readManifest(raw []byte, digest v1.Hash, get func(v1.Descriptor, int64) ([]byte, error)) (*v1.Manifest, v1.Hash, error) {
	for depth := 0; ; depth++ {
		var kind struct {
			MediaType types.MediaType `json:"mediaType"`
			Manifests []any           `json:"manifests"`
		}
		if err := json.Unmarshal(raw, &kind); err != nil {
			return nil, digest, fmt.Errorf("its manifest can't be read: %w", err)
		}
		if !kind.MediaType.IsIndex() && kind.Manifests == nil {
			var m v1.Manifest
			err := json.Unmarshal(raw, &m)
			if err == nil && (m.Config.Digest == v1.Hash{} || m.Config.Digest.Algorithm != "sha256") {
				err = errors.New("it names no configuration")
			}
			if err == nil {
				err = sizes(&m)
			}
			if err != nil {
				return nil, digest, fmt.Errorf("its manifest can't be read: %w", err)
			}
			return &m, digest, nil
		}
		var index v1.IndexManifest
		if err := json.Unmarshal(raw, &index); err != nil {
			return nil, digest, fmt.Errorf("its index can't be read: %w", err)
		}
		if depth > 2 {
			return nil, digest, errors.New("its index leads to another, and so on")
		}
		d, err := choose(&index)
		if err != nil {
			return nil, digest, err
		}
		if raw, err = get(d, maxManifest); err != nil {
			return nil, digest, err
		}
		digest = d.Digest
	}
}

// sizes refuses a manifest with sizes that can't be.
func sizes(m *v1.Manifest) error {
	left := int64(maxLayers)
	for _, d := range m.Layers {
		if d.Size < 0 || d.Size > left {
			return fmt.Errorf("it says that its layer %s has %d bytes; all of them together may have %d GiB",
				d.Digest, d.Size, int64(maxLayers)>>30)
		}
		left -= d.Size
	}
	return nil
}

// verified reads all of r, at most that many bytes, and checks the digest.
func verified(r io.Reader, digest v1.Hash, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > most {
		return nil, fmt.Errorf("%s has more than %d MiB", digest, most>>20)
	}
	got, _, err := v1.SHA256(strings.NewReader(string(data)))
	if err == nil && got != digest {
		err = fmt.Errorf("%s is damaged, or was changed: its digest is %s", digest, got)
	}
	return data, err
}
