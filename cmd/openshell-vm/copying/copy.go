package copying

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync/atomic"

	"github.com/docker/go-units"
	"golang.org/x/term"

	"openshell-vm/cmd/openshell-vm/say"
	"openshell-vm/gateway/api"
	"openshell-vm/internal/tree"
)

// Copy is one cp.
type Copy struct {
	Archive    bool // keep owners, and setuid bits
	FollowLink bool // copy what the source links to
	Quiet      bool

	Progress *say.Progress
	Stdin    io.Reader
	Stdout   *os.File
}

// Run copies. One of the two arguments is in a sandbox.
func (c Copy) Run(ctx context.Context, client *api.Client, from, to Argument) error {
	var moved atomic.Int64
	if !c.Quiet {
		c.Progress.Watch(func() string { return "copying " + from.String() + ", " + size(moved.Load()) })
		defer c.Progress.Done()
	}
	end, err := "", error(nil)
	if from.Sandbox != "" {
		end, err = c.out(ctx, client, from, to.Path, &moved)
	} else {
		end, err = c.in(ctx, client, from.Path, to, &moved)
	}
	if err == nil && !c.Quiet && end != "" {
		c.Progress.Done()
		fmt.Fprintf(os.Stderr, "Successfully copied %s to %s\n", size(moved.Load()), end)
	}
	return err
}

func size(n int64) string { return units.HumanSizeWithPrecision(float64(n), 3) }

// Check refuses what no copy can be.
func Check(from, to Argument) error {
	const hint = "one of the two is SANDBOX:PATH, the other a path of this host; ./FILE is a file with a colon in its name"
	switch {
	case from.Path == "":
		return errNoSource
	case to.Path == "":
		return say.Errorf("name a file or a directory; - is standard output", "destination can not be empty")
	case from.Sandbox != "" && to.Sandbox != "":
		return say.Errorf("copy to this host first, or through a pipe: openshell-vm cp A:/DIR - | openshell-vm cp - B:/",
			"copying between sandboxes is not supported")
	case from.Sandbox == "" && to.Sandbox == "":
		return say.Errorf(hint, "must specify at least one sandbox source")
	}
	return nil
}

// out copies from a sandbox.
func (c Copy) out(ctx context.Context, client *api.Client, from Argument, dest string, moved *atomic.Int64) (string, error) {
	file := inside(from.Path)
	stat, err := c.find(ctx, client, from.Sandbox, &file)
	if err != nil {
		return "", err
	}
	if dest == Stream {
		if term.IsTerminal(int(c.Stdout.Fd())) {
			return "", say.Errorf("redirect it to a file or a pipe", "a tar archive is not for a terminal")
		}
		c.Progress.Done()
		return "", client.CopyOut(ctx, from.Sandbox, file, c.Stdout)
	}
	to, err := localPlace(dest)
	if err != nil {
		return "", err
	}
	thing := source{tree.Base(path.Clean(inside(from.Path))), stat.Mode.IsDir()}
	content := isContent(file) || path.Clean(file) == "/"
	if content {
		thing.base = "."
	}
	dir, name, err := decide(thing, to)
	if err != nil {
		return "", err
	}
	opt := tree.Options{As: name, Owners: c.Archive && os.Geteuid() == 0, Privileges: c.Archive}
	if content && name != "." {
		dir = filepath.Join(dir, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			return "", err
		}
		defer os.Chmod(dir, stat.Mode.Perm())
	}
	if content {
		opt.As = ""
	}
	return to.path, c.unpack(ctx, client, from.Sandbox, file, dir, opt, moved)
}

// find describes the source in a sandbox. With FollowLink it becomes what it links to.
func (c Copy) find(ctx context.Context, client *api.Client, sandbox string, file *string) (*api.PathStat, error) {
	stat, err := client.StatPath(ctx, sandbox, *file)
	if err == nil && stat != nil && stat.Mode&fs.ModeSymlink != 0 && c.FollowLink {
		*file = keepEnd(*file, path.Join(path.Dir(path.Clean(*file)), stat.LinkTarget))
		if path.IsAbs(stat.LinkTarget) {
			*file = keepEnd(*file, stat.LinkTarget)
		}
		stat, err = client.StatPath(ctx, sandbox, *file)
	}
	if err == nil && stat == nil {
		err = say.Errorf(fmt.Sprintf("openshell-vm exec %s ls %s shows what is there", sandbox, path.Dir(path.Clean(*file))),
			"could not find the file %s in sandbox %s", *file, sandbox)
	}
	return stat, err
}

// unpack unpacks what comes from a sandbox. It is a stranger's.
func (c Copy) unpack(ctx context.Context, client *api.Client, sandbox, file, dir string, opt tree.Options, moved *atomic.Int64) error {
	r, w := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := client.CopyOut(ctx, sandbox, file, w)
		w.CloseWithError(err) // nil is the end
		sent <- err
	}()
	done, err := tree.Unpack(counting{r, moved}, dir, opt)
	r.CloseWithError(errUnpack)
	if failed := <-sent; failed != nil && !errors.Is(failed, errUnpack) {
		err = failed // unpacking has failed for it
	}
	switch {
	case err != nil && done.Entries > 0:
		return partly(err, done.Entries, dir)
	case err != nil:
		return err
	case done.LeftOut > 0:
		return leftOut(done)
	}
	return nil
}

var errUnpack = errors.New("the archive was not wanted to its end")

// partial is an error after which a part of the copy is there. It keeps the hint.
type partial struct {
	error
	what string
}

func (p partial) Error() string { return p.error.Error() + p.what }
func (p partial) Unwrap() error { return p.error }

func partly(err error, entries int, dir string) error {
	return partial{err, fmt.Sprintf("; %s copied to %s before that", were(entries), dir)}
}

func were(n int) string {
	if n == 1 {
		return "1 file was"
	}
	return fmt.Sprintf("%d files were", n)
}

func leftOut(done tree.Summary) error {
	return say.Errorf("all else was copied", "%s left out: %s", were(done.LeftOut), done.FirstLeftOut)
}

// counting adds up what is read.
type counting struct {
	r io.Reader
	n *atomic.Int64
}

func (c counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// in copies into a sandbox.
func (c Copy) in(ctx context.Context, client *api.Client, typed string, dest Argument, moved *atomic.Int64) (string, error) {
	to, err := remotePlace(ctx, client, dest)
	if err != nil {
		return "", err
	}
	end := Argument{dest.Sandbox, to.path}.String()
	if typed == Stream {
		if !to.isDir {
			return "", say.Errorf("name a directory that exists in the sandbox", "destination \"%s\" must be a directory", dest)
		}
		return end, client.CopyIn(ctx, dest.Sandbox, to.path, counting{c.Stdin, moved})
	}
	file, thing, err := localSource(typed, c.FollowLink)
	if err != nil {
		return "", err
	}
	dir, name, err := decide(thing, to)
	if err != nil {
		return "", err
	}
	r, w := io.Pipe()
	packed := make(chan tree.Summary, 1)
	go func() {
		done, err := tree.Pack(w, file, name, tree.PackOptions{Root: !c.Archive})
		w.CloseWithError(err)
		packed <- done
	}()
	err = client.CopyIn(ctx, dest.Sandbox, dir, counting{r, moved})
	r.Close()
	if done := <-packed; err == nil && done.LeftOut > 0 {
		err = leftOut(done)
	}
	return end, err
}

// remotePlace looks at a destination in a sandbox. It follows a link, also one that leads to
// nothing yet.
func remotePlace(ctx context.Context, client *api.Client, dest Argument) (place, error) {
	to := place{path: inside(dest.Path)}
	stat, err := client.StatPath(ctx, dest.Sandbox, to.path)
	if err == nil && stat != nil && stat.Mode&fs.ModeSymlink != 0 {
		link := stat.LinkTarget
		if !path.IsAbs(link) {
			link = path.Join(path.Dir(path.Clean(to.path)), link)
		}
		to.path = link
		stat, err = client.StatPath(ctx, dest.Sandbox, to.path)
	}
	if err != nil || stat == nil {
		return to, err
	}
	if !stat.Mode.IsDir() && !stat.Mode.IsRegular() {
		return to, say.Errorf("name a file or a directory", "destination \"%s\" must be a directory or a regular file", dest)
	}
	to.exists, to.isDir = true, stat.Mode.IsDir()
	return to, nil
}
