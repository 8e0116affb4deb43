package block

import (
	"errors"
	"fmt"

	"openshell-vm/drivers/vm/images/room"
)

// Limits on one image, all its layers together. They are far above what images have in
// practice, and keep a hostile one from filling memory, disk or hours.
const (
	// maxEntries takes about 400 MB of memory in the process that converts. Directories that
	// no entry names count, too.
	maxEntries = 1_000_000
	// maxBytes bounds what the layers hold when they are unpacked: the largest images with
	// CUDA and models have 50 GiB. Zeros count, since to unpack them takes time, too.
	maxBytes = 256 << 30
	// maxHeld bounds what is kept of the files in memory, beside a fixed size for each.
	maxHeld = 256 << 20
	// maxDepth bounds how deep directories lie: Linux can't name what lies deeper by one path.
	maxDepth = 2048
	// maxPath is Linux's own limit on a path.
	maxPath = 4096
	// maxHops is how many symbolic links a path may lead through, as in Linux.
	maxHops = 40
	// maxSteps bounds the directories on all paths together, those of links included. It is
	// a hundred for each file of the largest image, and takes less than a minute.
	maxSteps = 100 * maxEntries
	// maxAttrs bounds the extended attributes of a file, in bytes; Linux takes 64 KiB.
	maxAttrs = 64 << 10
	// maxLayers is more than any engine makes: Docker's limit is 127.
	maxLayers = 500
	// minFree is what stays free on the disk of the cache.
	minFree = room.Min
	// freeEvery is how often the free room is looked at, in bytes that were unpacked.
	freeEvery = room.Every
)

// ErrHostile is in the chain of each error for a layer that no honest tool makes.
var ErrHostile = errors.New("the layer is refused")

// hostile makes an error that names what is wrong with a layer.
func hostile(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrHostile}, args...)...)
}
