package library

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/images"
	"openshell-vm/drivers/vm/images/config"
	"openshell-vm/drivers/vm/images/source"
	"openshell-vm/drivers/vm/images/store"
	"openshell-vm/internal/atomicfile"
	"openshell-vm/internal/plainfile"
)

// File is in the directory of a sandbox that was made of an image: which one it was, and
// how it is run. So a newer image of the same name changes nothing.
const File = "image.json"

// maxFile bounds the file, in bytes.
const maxFile = 64 << 20

// Kept is what File holds.
type Kept struct {
	Reference string          `json:"reference"` // as the user gave it
	ID        string          `json:"id"`
	Digest    string          `json:"digest,omitempty"`
	Config    json.RawMessage `json:"config"`
}

// Check refuses an image that can't be had or run. It pulls one that is not here.
func (l *Library) Check(ctx context.Context, spec drivers.Spec) error {
	image, err := l.ensure(ctx, images.Request{Reference: spec.Image, RequireJail: spec.VM.RequireJail}, nil)
	if err != nil {
		return err
	}
	_, err = (&Kept{Reference: spec.Image, Config: image.Config}).Process(spec)
	return err
}

// Keep notes in dir, the directory of a sandbox, that the sandbox is made of its spec's image.
// From then on nobody removes the image.
func (l *Library) Keep(ctx context.Context, spec drivers.Spec, dir string) error {
	q := images.Request{Reference: spec.Image, RequireJail: spec.VM.RequireJail}
	for again := true; ; again = false {
		image, err := l.ensure(ctx, q, nil)
		if err != nil {
			return err
		}
		kept := Kept{Reference: q.Reference, ID: image.ID, Digest: image.Digest, Config: image.Config}
		if err := atomicfile.WriteJSON(filepath.Join(dir, File), kept, atomicfile.Durable); err != nil {
			return err
		}
		err = l.store.Use(image.ID, spec.ID, dir)
		if !errors.Is(err, store.ErrNotFound) || !again { // somebody may just have removed it
			return err
		}
	}
}

// Read reads what Keep wrote into a sandbox's directory.
func Read(dir string) (kept Kept, err error) {
	data, err := plainfile.Read(filepath.Join(dir, File), maxFile)
	if err == nil {
		err = json.Unmarshal(data, &kept)
	}
	return kept, err
}

// Take returns the image that a sandbox was made of, for a start, and the block image that is
// its root. dir is the sandbox's directory. If the cache was emptied it pulls the image once
// more: the same one.
func (l *Library) Take(ctx context.Context, spec drivers.Spec, dir string) (kept *Kept, block string, err error) {
	read, err := Read(dir)
	if err != nil {
		return nil, "", err
	}
	// The note first: from then on nobody removes the image.
	use := func() error { return l.store.Use(read.ID, spec.ID, dir) }
	if err = use(); errors.Is(err, store.ErrNotFound) {
		if err = l.pullAgain(ctx, read, spec.VM.RequireJail); err == nil {
			err = use()
		}
	}
	if err != nil {
		return nil, "", err
	}
	image, err := l.store.Image(read.ID)
	return &read, image.Block, err
}

// Leave takes back what Keep and Take said of the sandbox id.
func (l *Library) Leave(id, dir string) {
	if kept, err := Read(dir); err == nil {
		l.store.Unuse(kept.ID, id)
	}
}

// pullAgain pulls the image that a sandbox was made of.
func (l *Library) pullAgain(ctx context.Context, kept Kept, requireJail bool) error {
	ref, err := source.Parse(kept.Reference)
	if err != nil {
		return err
	}
	if kept.Digest != "" {
		ref = ref.At(kept.Digest)
	}
	_, err = l.ensure(ctx, images.Request{Reference: ref.String(), ID: kept.ID, RequireJail: requireJail}, nil)
	if err != nil {
		return &drivers.Error{Op: "start a sandbox whose image is not in the cache any more", Err: err,
			Hint: "see that " + ref.Short() + " can be had, or make a new sandbox"}
	}
	return nil
}

// Process returns what to run: what the user asked for, completed by what the image says.
func (kept *Kept) Process(spec drivers.Spec) (p drivers.Process, err error) {
	c, err := config.Read(kept.Config)
	if err == nil {
		p, err = c.Process(spec.Process, spec.Entrypoint)
	}
	if err != nil {
		return p, &drivers.Error{Op: "run the image " + kept.Reference, Err: err, Hint: drivers.HintOf(err)}
	}
	return p, nil
}

// Complete completes a boot spec, which has the process already.
func (kept *Kept) Complete(b *guest.BootSpec) {
	c, err := config.Read(kept.Config)
	if err != nil {
		return // Process has read it
	}
	b.Image, b.Dirs = true, c.Dirs(b.Process)
	b.StopSignal, _ = c.Signal()
}
