package api

import (
	"bufio"
	"context"
	"io"
	"net/url"
	"strings"

	"openshell-vm/internal/stream"
	"openshell-vm/internal/vocab"
)

// PathStat describes what a path names in a sandbox.
type PathStat = vocab.PathStat

// FoundPath answers the question what a path names.
type FoundPath struct {
	Stat *PathStat `json:"stat,omitempty"` // nil if it names nothing
}

// StatPath describes what an absolute path names in a sandbox; nil if it names nothing. It
// does not follow a link at the path's end, unless the path ends in a slash or "/.".
func (c *Client) StatPath(ctx context.Context, ref, path string) (*PathStat, error) {
	found, err := call[FoundPath](ctx, c, "GET", archivePath(ref, path, "stat"), nil)
	return found.Stat, err
}

// CopyOut writes a tar archive of what a path names in a sandbox. Names in the archive begin
// with the path's last element; an archive of a path that ends in "/." has the directory's
// content only. The sandbox wrote the archive: who unpacks it must trust nothing in it.
func (c *Client) CopyOut(ctx context.Context, ref, path string, w io.Writer) error {
	body, err := c.send(ctx, "GET", archivePath(ref, path), nil)
	if err != nil {
		return err
	}
	defer body.Close()
	err = receive(stream.NewReader(bufio.NewReader(body)), w, nil)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// CopyIn unpacks a tar archive into a directory of a sandbox, with the owners that the
// archive names. If r fails, so does CopyIn. Some of the archive may then be unpacked.
func (c *Client) CopyIn(ctx context.Context, ref, dir string, r io.Reader) error {
	conn, err := c.upgrade(ctx, archivePath(ref, dir), nil)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	_, err = converse(ctx, conn, Streams{Stdin: stream.FailingReader(r, cancel)})
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// maxPath is the longest path that a kernel takes.
const maxPath = 4095

// ValidPath reports whether a path can name anything.
func ValidPath(path string) bool {
	return path != "" && len(path) <= maxPath && !strings.ContainsRune(path, 0)
}

func archivePath(ref, path string, more ...string) string {
	return sandboxPath(ref, append([]string{"archive"}, more...)...) + "?" + url.Values{"path": {path}}.Encode()
}
