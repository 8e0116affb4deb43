package drivers

import (
	"context"
	"errors"
	"io"

	"openshell-vm/internal/vocab"
)

// Copier is a driver that can copy files into a sandbox and out of it. Paths are absolute,
// and in the sandbox: links in them lead where they lead there. A path that ends in a slash
// or in "/." names what a link leads to.
type Copier interface {
	// StatPath describes what a path names. It does not follow a link at the path's end. The
	// error wraps ErrNoPath if the path names nothing.
	StatPath(ctx context.Context, id, path string) (PathStat, error)

	// CopyOut writes a tar archive of what a path names. Names in the archive begin with the
	// path's last element. If the path ends in "/." or is the root, the archive has the
	// directory's content only. Its size and content are the sandbox's: who unpacks it
	// must trust nothing in it.
	CopyOut(ctx context.Context, id, path string, w io.Writer) error

	// CopyIn unpacks a tar archive into a directory, with the owners that the archive names.
	// It replaces no directory by something else, and nothing else by a directory. If r fails,
	// CopyIn fails, too. Some of the archive may then be unpacked.
	CopyIn(ctx context.Context, id, dir string, r io.Reader) error
}

// PathStat describes what a path names in a sandbox.
type PathStat = vocab.PathStat

// ErrNoPath means that a path names nothing in a sandbox.
var ErrNoPath = errors.New("no such file or directory")

// Launcher is a driver that can run a command in a running sandbox and leave it alone.
type Launcher interface {
	// Launch starts p and returns. p goes on in the sandbox; its output is dropped. exitCode
	// is 126 or 127 if p can't be run, and else 0.
	Launch(ctx context.Context, id string, p Process) (exitCode int, err error)
}
