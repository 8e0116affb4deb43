package block

import (
	"fmt"
	"io"
	"os"

	"openshell-vm/drivers/vm/images/erofs"
	"openshell-vm/drivers/vm/images/room"
)

// Version is part of the name of a converted image. It changes when the same layers have
// to give another image.
const Version = 1

// Layer is one layer, as an archive that is not compressed.
type Layer interface {
	// Name names the layer for people, such as its digest.
	Name() string
	// Open opens the archive. The last Read fails if it is not what its digest says.
	Open() (io.ReadCloser, error)
}

// Write writes a block image of the layers, the lowest first, to an empty file. It does not
// sync the file, nor close it. After an error the file is no image.
func Write(out *os.File, layers []Layer, o erofs.Options) error {
	w := erofs.New(out, o)
	b := &builder{tree: newTree(w.Discard), out: w, free: func() (uint64, error) { return room.Free(out) }}
	if err := b.checkFree(); err != nil {
		return err
	}
	for _, layer := range layers {
		if err := addLayer(b, layer); err != nil {
			return fmt.Errorf("layer %s: %w", layer.Name(), err)
		}
	}
	return w.Finish(b.finish(b.root))
}

// addLayer reads a layer to its end, so that all of it is checked.
func addLayer(b *builder, layer Layer) error {
	in, err := layer.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	archive := &bounded{in, b}
	if err := b.add(archive); err != nil {
		return err
	}
	rest, err := io.Copy(io.Discard, io.LimitReader(archive, maxRest+1))
	if err == nil && rest > maxRest {
		return hostile("after its end there are more than %d MiB", maxRest>>20)
	}
	return err
}

// maxRest bounds what may follow an archive's end, in bytes. Tools pad archives with
// zeros, some to whole records of 10 KiB.
const maxRest = 16 << 20

// bounded bounds what is read of all archives, also of what is in no file.
type bounded struct {
	io.Reader
	b *builder
}

func (r *bounded) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if r.b.read += int64(n); r.b.read > maxBytes {
		return 0, hostile("with it the image has more than %d GiB", int64(maxBytes>>30))
	}
	return n, err
}
