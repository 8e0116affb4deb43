// Package images gives the vm driver block images of container images. What is hostile, a
// registry's answers and the layers themselves, is read by a process of its own,
// openshell-image: the gateway, which renews tokens, never parses a layer.
//
//	source   where an image comes from
//	unpack   what may be compressed
//	block    layers become one block image
//	erofs    the block image's format
//	store    the cache on disk
//	config   how to run an image
//
// openshell-image reads one Request from its standard input and ends when that is closed.
// It writes Reports to its standard output, the last of which is the result.
//
// It is two processes. The first one knows the host: it finds the login for a registry, opens
// an archive, has an engine's image copied, and reads nothing that an image's maker has
// written. It starts the second one in a jail, which gets a Task, and has the cache directory
// and the source. The network is there only for a registry.
package images

import (
	"openshell-vm/drivers/vm/images/store"
	"openshell-vm/internal/vocab"
)

// Program is the name of the program that pulls and converts. It lies beside our others.
const Program = "openshell-image"

// Request asks for one image.
type Request struct {
	Dir       string `json:"dir"`       // the store's
	Reference string `json:"reference"` // as package source reads it
	// Fresh asks the source, even if the store has an image of that name.
	Fresh bool `json:"fresh,omitempty"`
	// ID is what the image's ID must be; "" for any.
	ID string `json:"id,omitempty"`
	// RequireJail refuses a host that can't give a complete jail.
	RequireJail bool `json:"requireJail,omitempty"`
}

// Report is one line of the answer. One field is set.
type Report struct {
	Progress *vocab.PullProgress `json:"progress,omitempty"`
	Image    *store.Image        `json:"image,omitempty"`
	Block    string              `json:"block,omitempty"`
	Problem  *Problem            `json:"problem,omitempty"`
}

// Problem is an error on its way.
type Problem struct {
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}
