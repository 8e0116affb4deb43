// Package source is where a container image comes from: a registry, a file, or what a
// local Docker or Podman has. It gives an image's configuration and its layers, and keeps
// nothing.
//
// Whatever a source says of itself is checked: a manifest by its digest if one was given,
// the configuration and each layer by the digests in the manifest. The caller checks a
// layer's content by DiffID.
//
// Credentials are those of docker login and podman login, helper programs included. They
// go to the registry that they are for. Without TLS only the loopback is talked to, as
// Docker does.
package source

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/name"

	"openshell-vm/internal/fault"
)

// Kinds of sources, as users write them before a colon. A registry has none.
const (
	Registry      = ""
	OCI           = "oci"                // a directory
	OCIArchive    = "oci-archive"        // a file
	DockerArchive = "docker-archive"     // a file of docker save
	DockerDaemon  = "docker-daemon"      // what the local Docker has
	Podman        = "containers-storage" // what the local Podman has
)

// Reference names an image.
type Reference struct {
	Kind string // Registry, OCI, …
	// Path is the directory or file, absolute; "" for the other kinds.
	Path string
	// Image is the whole name in a registry or engine, such as docker.io/library/alpine:3.
	// For a directory or file it is what the user gave to choose one of several, or "".
	Image string
}

// InEngine reports whether a local Docker or Podman has the image.
func (r Reference) InEngine() bool { return r.Kind == DockerDaemon || r.Kind == Podman }

const hintRef = "give an image as NAME[:TAG], such as debian:12, or oci:DIR, oci-archive:FILE, docker-archive:FILE, " +
	"docker-daemon:NAME, containers-storage:NAME"

// Parse reads a reference as users write it. The path of a directory or file has to be
// absolute: only the caller knows what it is relative to.
func Parse(text string) (Reference, error) {
	refuse := func(err error) (Reference, error) {
		return Reference{}, &fault.Error{Op: fmt.Sprintf("use the image %q", text), Err: err, Hint: hintRef}
	}
	if strings.ContainsAny(text, "\x00\n\r\t ") {
		return refuse(errors.New("it has a blank or a control character"))
	}
	kind, rest := split(text)
	r := Reference{Kind: kind}
	switch kind {
	case OCI, OCIArchive, DockerArchive:
		r.Path, r.Image = splitPath(rest)
		if !filepath.IsAbs(r.Path) {
			return refuse(fmt.Errorf("%q is no absolute path", r.Path))
		}
		r.Path = filepath.Clean(r.Path)
		return r, nil
	case DockerDaemon, Podman:
		if id := strings.TrimPrefix(rest, "sha256:"); len(id) == 64 && !strings.ContainsAny(id, "/:@") {
			r.Image = "sha256:" + id
			return r, nil
		}
	}
	named, err := reference.ParseNormalizedNamed(rest)
	if err != nil {
		return refuse(err)
	}
	r.Image = reference.TagNameOnly(named).String()
	if _, err := name.ParseReference(r.Image); err != nil {
		return refuse(errors.New(err.Error()))
	}
	return r, nil
}

// split cuts off the kind.
func split(text string) (kind, rest string) {
	before, after, ok := strings.Cut(text, ":")
	switch before {
	case OCI, OCIArchive, DockerArchive, DockerDaemon, Podman:
		if ok {
			return before, after
		}
	}
	return Registry, text
}

// splitPath cuts PATH[:IMAGE]. A path has no colon, an image may have some.
func splitPath(text string) (path, image string) {
	path, image, _ = strings.Cut(text, ":")
	return path, image
}

// String is the reference in full. Two that mean the same have the same string.
func (r Reference) String() string {
	s := r.Path
	if r.Path != "" && r.Image != "" {
		s += ":"
	}
	s += r.Image
	if r.Kind != Registry {
		s = r.Kind + ":" + s
	}
	return s
}

// Short is the reference as people write it, without what goes without saying.
func (r Reference) Short() string {
	if r.Path != "" {
		return r.String()
	}
	s := r.Image
	if named, err := reference.ParseNormalizedNamed(s); err == nil && !strings.HasPrefix(s, "sha256:") {
		s = reference.FamiliarString(named)
	}
	if r.Kind != Registry {
		s = r.Kind + ":" + s
	}
	return s
}

// Fixed reports whether the reference always means the same image.
func (r Reference) Fixed() bool {
	return r.Kind == Registry && strings.Contains(r.Image, "@")
}

// At is the reference to the same repository's image of that digest.
func (r Reference) At(digest string) Reference {
	if named, err := reference.ParseNormalizedNamed(r.Image); err == nil && r.Kind == Registry {
		r.Image = reference.TrimNamed(named).Name() + "@" + digest
	}
	return r
}
