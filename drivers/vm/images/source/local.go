package source

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distribution/reference"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"openshell-vm/internal/fault"
)

// files are the files of a directory or an archive, by their names in it.
type files interface {
	open(name string) (file, error)
}

// file is one of them.
type file interface {
	io.ReadSeekCloser
	Size() int64
}

// findDir finds an image in a directory with an OCI layout.
func findDir(r Reference, path string) (*Image, error) {
	blobs, err := os.OpenRoot(filepath.Join(path, blobsDir))
	if err != nil {
		return nil, fmt.Errorf("it is no OCI layout: %w", err)
	}
	image, err := findLayout(directory{path, blobs}, r)
	if err != nil {
		blobs.Close()
		return nil, err
	}
	image.close = blobs.Close
	return image, nil
}

// blobsDir is where an OCI layout has all but its index.
const blobsDir = "blobs"

// directory has its index in path, and all else in blobs, out of which no link leads. Nothing
// else of path is opened: in a jail it is not there.
type directory struct {
	path  string
	blobs *os.Root
}

type plain struct {
	*os.File
	size int64
}

func (p plain) Size() int64 { return p.size }

func (d directory) open(name string) (file, error) {
	// Not to wait for what is no file, such as a FIFO that nobody writes to.
	const flags = os.O_RDONLY | unix.O_NONBLOCK
	var f *os.File
	var err error
	if blob, ok := strings.CutPrefix(name, blobsDir+"/"); ok {
		f, err = d.blobs.OpenFile(filepath.FromSlash(blob), flags, 0)
	} else {
		f, err = os.OpenFile(filepath.Join(d.path, filepath.Base(name)), flags|unix.O_NOFOLLOW, 0)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", name)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return plain{f, info.Size()}, nil
}

// refName is the annotation with an image's name in an index.
const refName = "org.opencontainers.image.ref.name"

// findLayout finds an image in an OCI layout.
func findLayout(in files, r Reference) (*Image, error) {
	raw, err := readFile(in, "index.json", maxManifest)
	if err != nil {
		return nil, fmt.Errorf("it is no OCI layout: %w", err)
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, fmt.Errorf("its index can't be read: %w", err)
	}
	if len(index.Manifests) == 0 {
		return nil, errors.New("it has no image")
	}
	if r.Image != "" {
		index.Manifests = slices.DeleteFunc(index.Manifests, func(d v1.Descriptor) bool {
			return !sameName(d.Annotations[refName], r.Image) && d.Digest.String() != r.Image
		})
		if len(index.Manifests) == 0 {
			return nil, fmt.Errorf("it has no image %q", r.Image)
		}
	}
	get := func(d v1.Descriptor, most int64) ([]byte, error) { return readBlob(in, d.Digest, most) }
	first := index.Manifests[0]
	if len(index.Manifests) > 1 {
		if first, err = choose(&index); err != nil {
			if r.Image == "" {
				err = &fault.Error{Err: errors.New("it has several images"), Hint: "name one of them: " + r.String() + ":NAME"}
			}
			return nil, err
		}
	}
	raw, err = get(first, maxManifest)
	if err != nil {
		return nil, err
	}
	manifest, digest, err := readManifest(raw, first.Digest, get)
	if err != nil {
		return nil, err
	}
	config, err := get(manifest.Config, maxConfig)
	if err != nil {
		return nil, err
	}
	var layers []Layer
	for _, d := range manifest.Layers {
		layers = append(layers, Layer{Digest: d.Digest, Size: d.Size, Open: opener(in, blobName(d.Digest))})
	}
	return made(digest, config, manifest.Config.Digest, layers)
}

// sameName compares names of images, of which one may be short.
func sameName(a, b string) bool {
	if a == b {
		return true
	}
	x, err := reference.ParseNormalizedNamed(a)
	if err != nil {
		return false
	}
	y, err := reference.ParseNormalizedNamed(b)
	return err == nil && reference.TagNameOnly(x).String() == reference.TagNameOnly(y).String()
}

func blobName(d v1.Hash) string { return path.Join("blobs", d.Algorithm, d.Hex) }

func readBlob(in files, d v1.Hash, most int64) ([]byte, error) {
	f, err := in.open(blobName(d))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return verified(f, d, most)
}

func readFile(in files, name string, most int64) ([]byte, error) {
	f, err := in.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("%s has more than %d MiB", name, most>>20)
	}
	return data, err
}

// opener reads a file of in as a layer.
func opener(in files, name string) func(context.Context, int64) (io.ReadCloser, int64, error) {
	return func(_ context.Context, from int64) (io.ReadCloser, int64, error) {
		f, err := in.open(name)
		if err != nil {
			return nil, 0, err
		}
		if _, err := f.Seek(from, io.SeekStart); err != nil {
			f.Close()
			return nil, 0, err
		}
		return f, from, nil
	}
}

// findArchive finds an image in a file.
func findArchive(r Reference, g Given) (*Image, error) {
	f, err := unpacked(g.File, g.TempDir)
	if err != nil {
		return nil, err
	}
	image, err := findIn(f, r)
	if err == nil && g.ID != "" && image.ID.String() != g.ID {
		err = fmt.Errorf("the image %s was given instead of %s", image.ID, g.ID)
	}
	if err != nil && f != g.File {
		f.Close()
	}
	if err != nil {
		return nil, err
	}
	image.close = func() error { return errors.Join(f.Close(), g.File.Close()) }
	if f == g.File {
		image.close = f.Close
	}
	return image, nil
}

// findIn finds an image in an archive that is not compressed.
func findIn(f *os.File, r Reference) (*Image, error) {
	in, err := openArchive(f)
	if err != nil {
		return nil, err
	}
	if r.Kind == OCIArchive {
		return findLayout(in, r)
	}
	return findSaved(in, r)
}

// findSaved finds an image in what docker save writes.
func findSaved(in files, r Reference) (*Image, error) {
	raw, err := readFile(in, "manifest.json", maxManifest)
	if err != nil {
		return nil, fmt.Errorf("it is no archive of docker save: %w", err)
	}
	var saved []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(raw, &saved); err != nil {
		return nil, fmt.Errorf("its manifest can't be read: %w", err)
	}
	at := 0
	switch {
	case len(saved) == 0:
		return nil, errors.New("it has no image")
	case r.Path != "" && r.Image != "":
		at = -1
		for i, s := range saved {
			if slices.ContainsFunc(s.RepoTags, func(tag string) bool { return sameName(tag, r.Image) }) {
				at = i
			}
		}
		if at < 0 {
			return nil, fmt.Errorf("it has no image %q", r.Image)
		}
	case len(saved) > 1:
		return nil, &fault.Error{Err: errors.New("it has several images"), Hint: "name one of them: " + r.String() + ":NAME"}
	}
	config, err := readFile(in, saved[at].Config, maxConfig)
	if err != nil {
		return nil, err
	}
	id, _, err := v1.SHA256(bytes.NewReader(config))
	if err != nil {
		return nil, err
	}
	var layers []Layer
	for _, name := range saved[at].Layers {
		layers = append(layers, Layer{Size: -1, Open: opener(in, name)})
	}
	if saved := strings.TrimSuffix(path.Base(saved[at].Config), ".json"); len(saved) == len(id.Hex) && saved != id.Hex {
		return nil, fmt.Errorf("its configuration is damaged, or was changed: its digest is %s", id)
	}
	return made(v1.Hash{}, config, id, layers)
}
