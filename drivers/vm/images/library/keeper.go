package library

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/images/config"
	"openshell-vm/drivers/vm/images/source"
	"openshell-vm/drivers/vm/images/store"
)

// Images implements drivers.ImageKeeper.
func (l *Library) Images(context.Context) ([]drivers.Image, error) {
	list, err := l.store.List()
	all := make([]drivers.Image, 0, len(list))
	for _, i := range list {
		all = append(all, seen(i))
	}
	slices.SortFunc(all, func(a, b drivers.Image) int { return b.Pulled.Compare(a.Pulled) })
	return all, err
}

// Image implements drivers.ImageKeeper.
func (l *Library) Image(_ context.Context, ref string) (drivers.Image, error) {
	image, err := l.find(ref)
	return seen(image), err
}

// seen is an image as people see it. If its configuration can't be read, that part is empty.
func seen(i store.Image) drivers.Image {
	s := drivers.Image{ID: i.ID, Digest: i.Digest, Pulled: i.Pulled, Size: i.Disk, Sandboxes: i.Sandbox, Path: i.Block, Names: []string{}}
	for _, name := range i.Names {
		if ref, err := source.Parse(name); err == nil {
			name = ref.Short()
		}
		s.Names = append(s.Names, name)
	}
	c, err := config.Read(i.Config)
	if err != nil {
		return s
	}
	s.Config.Created, _ = time.Parse(time.RFC3339, c.Created)
	s.Config.Architecture, s.Config.Entrypoint, s.Config.Cmd, s.Config.Env = c.Architecture, c.Entrypoint, c.Cmd, c.Env
	s.Config.User, s.Config.Dir, s.Config.StopSignal = c.User, c.Dir, c.StopSignal
	s.Config.Volumes, s.Config.Ports, s.Config.Labels = c.Volumes, c.Ports, c.Labels
	return s
}

// shortest is the shortest beginning of an ID that is taken for one. A name may look like
// one, too: names come first.
const shortest = 4

// find finds an image by a name, its ID or a beginning of that.
func (l *Library) find(ref string) (store.Image, error) {
	list, err := l.store.List()
	if err != nil {
		return store.Image{}, err
	}
	none := fmt.Errorf("%w: %s", drivers.ErrNoSuchImage, ref)
	if parsed, err := source.Parse(ref); err == nil {
		for _, i := range list {
			if slices.Contains(i.Names, parsed.String()) {
				return i, nil
			}
		}
	}
	prefix := strings.TrimPrefix(ref, "sha256:")
	if len(prefix) < shortest {
		return store.Image{}, none
	}
	list = slices.DeleteFunc(list, func(i store.Image) bool { return !strings.HasPrefix(strings.TrimPrefix(i.ID, "sha256:"), prefix) })
	switch len(list) {
	case 0:
		return store.Image{}, none
	case 1:
		return list[0], nil
	}
	return store.Image{}, &drivers.Error{Err: fmt.Errorf("several images begin with %s", ref), Hint: "give more of the image's ID"}
}

// RemoveImage implements drivers.ImageKeeper.
func (l *Library) RemoveImage(_ context.Context, ref string) (drivers.Freed, error) {
	image, err := l.find(ref)
	if err != nil {
		return drivers.Freed{}, err
	}
	if parsed, err := source.Parse(ref); err == nil && len(image.Names) > 1 && slices.Contains(image.Names, parsed.String()) {
		l.store.Untag(parsed.String())
		return drivers.Freed{Images: []string{parsed.Short()}}, nil
	}
	return l.drop([]store.Image{image}, store.KeepBlobs)
}

// PruneImages implements drivers.ImageKeeper.
func (l *Library) PruneImages(_ context.Context, all bool) (drivers.Freed, error) {
	list, err := l.store.List()
	if err != nil {
		return drivers.Freed{}, err
	}
	list = slices.DeleteFunc(list, func(i store.Image) bool { return len(i.Sandbox) > 0 || len(i.Names) > 0 && !all })
	return l.drop(list, store.DropBlobs)
}

// drop removes images, and what is needed for none any more.
func (l *Library) drop(list []store.Image, blobs store.Blobs) (freed drivers.Freed, err error) {
	var errs []error
	for _, i := range list {
		err := l.store.Remove(i.ID)
		switch {
		case errors.Is(err, store.ErrInUse):
			errs = append(errs, inUse{i.Sandbox})
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			errs = append(errs, err)
		default:
			freed.Images = append(freed.Images, label(i))
			freed.Bytes += i.Disk
		}
	}
	bytes, err := l.store.Sweep(blobs)
	freed.Bytes += bytes
	return freed, errors.Join(append(errs, err)...)
}

// label names an image for people.
func label(i store.Image) string {
	if names := seen(i).Names; len(names) > 0 {
		return strings.Join(names, ", ")
	}
	return i.ID
}

// inUse is the refusal to remove an image.
type inUse struct{ sandboxes []string }

func (e inUse) Error() string {
	return fmt.Sprintf("the image is in use: made of it was %s", strings.Join(e.sandboxes, ", "))
}

func (inUse) Is(target error) bool { return target == drivers.ErrImageInUse }
