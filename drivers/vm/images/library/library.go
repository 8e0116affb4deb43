// Package library is the images of this user's gateways, for the vm driver: what a gateway
// asks about them, and which image a sandbox is made of.
//
// It reads no image itself. Package images has another program do that, and package store
// holds the result.
package library

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/images"
	"openshell-vm/drivers/vm/images/source"
	"openshell-vm/drivers/vm/images/store"
)

// Library is the images in one directory. It keeps nothing open, and is safe for concurrent
// use, also by several processes.
type Library struct {
	dir         string
	store       *store.Store
	client      images.Client
	requireJail bool
}

// New returns the library in dir, which need not exist. program is the path of
// openshell-image. requireJail refuses a host that can't give it a complete jail.
func New(dir, program string, requireJail bool) *Library {
	return &Library{dir: dir, store: store.Open(dir), client: images.Client{Program: program}, requireJail: requireJail}
}

// Pull implements drivers.Puller.
func (l *Library) Pull(ctx context.Context, q drivers.PullRequest, report func(drivers.PullProgress)) error {
	if q.Policy == drivers.PullNever {
		if _, err := l.find(q.Image); err != nil {
			return &drivers.Error{Op: "use the image " + q.Image, Err: fmt.Errorf("%w, and it is not to be fetched", err),
				Hint: "leave out --pull never"}
		}
		return nil
	}
	_, err := l.ensure(ctx, images.Request{Reference: q.Image, Fresh: q.Policy == drivers.PullAlways, RequireJail: q.RequireJail}, report)
	return err
}

// ensure returns an image, and pulls it if it is not here.
func (l *Library) ensure(ctx context.Context, q images.Request, report func(drivers.PullProgress)) (store.Image, error) {
	q.Dir = l.dir
	ref, err := source.Parse(q.Reference)
	if err != nil {
		return store.Image{}, err
	}
	if !q.Fresh && l.asItWas(ref) {
		if image, err := l.store.Lookup(ref.String()); err == nil && (q.ID == "" || q.ID == image.ID) {
			return image, nil
		}
	}
	q.Fresh, q.RequireJail = true, q.RequireJail || l.requireJail
	return l.client.Pull(ctx, q, report)
}

// asItWas reports whether a reference means what it meant when it was pulled. In a registry a
// name may have been given to another image since; that one is only asked for by the user. A
// file or directory is looked at. What an engine has it tells quickly.
func (l *Library) asItWas(ref source.Reference) bool {
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
	name, err := l.store.Named(ref.String())
	// The time of the last change of any kind: a file that was moved there has an old content.
	return err == nil && unix.Stat(file, &st) == nil && time.Unix(st.Ctim.Unix()).Before(name.Pulled)
}
