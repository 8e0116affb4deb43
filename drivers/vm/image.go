package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/guest"
	"openshell-vm/drivers/vm/host"
	"openshell-vm/drivers/vm/images"
	"openshell-vm/drivers/vm/images/config"
	"openshell-vm/drivers/vm/images/source"
	"openshell-vm/drivers/vm/images/store"
	"openshell-vm/drivers/vm/monitor"
	"openshell-vm/internal/atomicfile"
	"openshell-vm/internal/plainfile"
)

// imageFile is in the directory of a sandbox that was made of an image: which one it was,
// and how it is run. So a newer image of the same name changes nothing.
const imageFile = "image.json"

// cacheImages is below the cache directory.
const cacheImages = "images"

// sandboxImage is what imageFile holds.
type sandboxImage struct {
	Reference string          `json:"reference"` // as the user gave it
	ID        string          `json:"id"`
	Digest    string          `json:"digest,omitempty"`
	Config    json.RawMessage `json:"config"`
}

func (d *Driver) images() *store.Store {
	return store.Open(filepath.Join(d.cfg.CacheDir, cacheImages))
}

// ensureImage returns an image, and pulls it if it is not here.
func (d *Driver) ensureImage(ctx context.Context, q images.Request, report func(drivers.PullProgress)) (store.Image, error) {
	q.Dir = filepath.Join(d.cfg.CacheDir, cacheImages)
	ref, err := source.Parse(q.Reference)
	if err != nil {
		return store.Image{}, err
	}
	if !q.Fresh && d.asItWas(ref) {
		if image, err := d.images().Lookup(ref.String()); err == nil && (q.ID == "" || q.ID == image.ID) {
			return image, nil
		}
	}
	q.Fresh = true
	return images.Client{Program: d.host.Program(images.Program)}.Pull(ctx, q, report)
}

// asItWas reports whether a reference means what it meant when it was pulled. In a registry a
// name may have been given to another image since; that one is only asked for by the user. A
// file or directory is looked at. What an engine has it tells quickly.
func (d *Driver) asItWas(ref source.Reference) bool {
	var st unix.Stat_t
	file := ref.Path
	switch ref.Kind {
	case source.Registry:
		return true
	case source.OCI:
		file = filepath.Join(ref.Path, "index.json")
	case source.OCIArchive, source.DockerArchive:
	default:
		return false
	}
	name, err := d.images().Named(ref.String())
	// The time of the last change of any kind: a file that was moved there has an old content.
	return err == nil && unix.Stat(file, &st) == nil && time.Unix(st.Ctim.Unix()).Before(name.Pulled)
}

// resolveImage refuses an image that can't be had or run.
func (d *Driver) resolveImage(ctx context.Context, spec drivers.Spec) error {
	image, err := d.ensureImage(ctx, images.Request{Reference: spec.Image}, nil)
	if err != nil {
		return err
	}
	_, err = (&sandboxImage{Reference: spec.Image, Config: image.Config}).process(spec)
	return err
}

// keepImage notes in the sandbox's directory which image it is made of.
func (d *Driver) keepImage(ctx context.Context, spec drivers.Spec) error {
	if spec.Image == "" {
		return nil
	}
	for again := true; ; again = false {
		image, err := d.ensureImage(ctx, images.Request{Reference: spec.Image}, nil)
		if err != nil {
			return err
		}
		kept := sandboxImage{Reference: spec.Image, ID: image.ID, Digest: image.Digest, Config: image.Config}
		if err := atomicfile.WriteJSON(filepath.Join(d.dir(spec.ID), imageFile), kept, atomicfile.Durable); err != nil {
			return err
		}
		err = d.images().Use(image.ID, spec.ID, d.dir(spec.ID))
		if !errors.Is(err, store.ErrNotFound) || !again { // somebody may just have removed it
			return err
		}
	}
}

// readImage reads what keepImage wrote.
func (d *Driver) readImage(id string) (kept sandboxImage, err error) {
	data, err := plainfile.Read(filepath.Join(d.dir(id), imageFile), maxSpec)
	if err == nil {
		err = json.Unmarshal(data, &kept)
	}
	return kept, err
}

// shareImage sets the image as the VM's root. If the cache was emptied it pulls the image once more: the same one.
func (d *Driver) shareImage(ctx context.Context, spec drivers.Spec, cfg *monitor.Config) (*sandboxImage, error) {
	kept, err := d.readImage(spec.ID)
	if err != nil {
		return nil, err
	}
	// The note first: from then on nobody removes the image.
	use := func() error { return d.images().Use(kept.ID, spec.ID, d.dir(spec.ID)) }
	if err = use(); errors.Is(err, store.ErrNotFound) {
		if _, err = d.pullAgain(ctx, kept); err == nil {
			err = use()
		}
	}
	if err != nil {
		return nil, err
	}
	image, err := d.images().Image(kept.ID)
	if err != nil {
		return nil, err
	}
	cfg.Image = image.Block
	return &kept, nil
}

// pullAgain pulls the image that a sandbox was made of.
func (d *Driver) pullAgain(ctx context.Context, kept sandboxImage) (store.Image, error) {
	ref, err := source.Parse(kept.Reference)
	if err != nil {
		return store.Image{}, err
	}
	if kept.Digest != "" {
		ref = ref.At(kept.Digest)
	}
	image, err := d.ensureImage(ctx, images.Request{Reference: ref.String(), ID: kept.ID}, nil)
	if err != nil {
		return image, &drivers.Error{Op: "start a sandbox whose image is not in the cache any more", Err: err,
			Hint: "see that " + ref.Short() + " can be had, or make a new sandbox"}
	}
	return image, nil
}

// process returns what to run: what the user asked for, completed by what the image says.
func (kept *sandboxImage) process(spec drivers.Spec) (p drivers.Process, err error) {
	c, err := config.Read(kept.Config)
	if err == nil {
		p, err = c.Process(spec.Process, spec.Entrypoint)
	}
	if err != nil {
		return p, &drivers.Error{Op: "run the image " + kept.Reference, Err: err, Hint: drivers.HintOf(err)}
	}
	return p, nil
}

// complete completes a boot spec, which has the process already.
func (kept *sandboxImage) complete(b *guest.BootSpec) {
	c, err := config.Read(kept.Config)
	if err != nil {
		return // process has read it
	}
	b.Image, b.Dirs = true, c.Dirs(b.Process)
	b.StopSignal, _ = c.Signal()
}

// Pull implements drivers.Puller.
func (d *Driver) Pull(ctx context.Context, image string, policy drivers.PullPolicy, report func(drivers.PullProgress)) error {
	if policy == drivers.PullNever {
		if _, err := d.findImage(image); err != nil {
			return &drivers.Error{Op: "use the image " + image, Err: fmt.Errorf("%w, and it is not to be fetched", err), Hint: "leave out --pull never"}
		}
		return nil
	}
	_, err := d.ensureImage(ctx, images.Request{Reference: image, Fresh: policy == drivers.PullAlways}, report)
	return err
}

// refuseImage refuses an option that makes no sense with, or without, an image.
func refuseImage(spec drivers.Spec) error {
	switch {
	case spec.Image != "" && !host.OwnRoot(spec.VM.Rootfs):
		return &drivers.Error{Op: "make a VM", Err: errors.New("both a rootfs and an image are given"), Hint: "use one of --rootfs and --image"}
	case spec.Image == "" && spec.Entrypoint != "":
		return &drivers.Error{Op: "replace the entry point by " + spec.Entrypoint, Err: errors.New("a directory has none, only an image has"),
			Hint: "put the program before its arguments, or use --image"}
	}
	return nil
}
