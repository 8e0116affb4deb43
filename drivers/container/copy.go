package container

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"openshell-vm/drivers"
	"openshell-vm/drivers/container/said"
)

func (d *Driver) StatPath(ctx context.Context, id, path string) (drivers.PathStat, error) {
	f, err := d.finder.find(ctx, id)
	if err != nil {
		return drivers.PathStat{}, err
	}
	stat, err := d.engine.StatPath(ctx, f.ID, path)
	return stat, d.explainCopy("find "+path+" in the container", err)
}

func (d *Driver) CopyOut(ctx context.Context, id, path string, w io.Writer) error {
	f, err := d.finder.find(ctx, id)
	if err != nil {
		return err
	}
	archive, err := d.engine.GetArchive(ctx, f.ID, path)
	if err != nil {
		return d.explainCopy("copy "+path+" from the container", err)
	}
	defer archive.Close()
	defer context.AfterFunc(ctx, func() { archive.Close() })()
	to := &tail{w: w}
	_, err = io.Copy(to, archive)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case to.err != nil:
		return to.err
	case err != nil:
		return d.explainCopy("copy "+path+" from the container", err)
	case !to.ended():
		return &drivers.Error{Op: "copy " + path + " from the container", Err: fmt.Errorf("%s ended the archive early", d.Name()),
			Hint: "its log says why"}
	}
	return nil
}

func (d *Driver) CopyIn(ctx context.Context, id, dir string, r io.Reader) error {
	f, err := d.finder.find(ctx, id)
	if err != nil {
		return err
	}
	if target := readOnlyAt(f, dir); target != "" {
		return &drivers.Error{Op: "copy into " + dir, Err: errors.New("mounted volume is marked read-only"),
			Hint: "what is mounted at " + target + " is changed on the host only"}
	}
	if _, err := d.engine.StatPath(ctx, f.ID, dir); err != nil { // Podman would make it
		return d.explainCopy("find "+dir+" in the container", err)
	}
	return d.explainCopy("copy into "+dir+" of the container", d.engine.PutArchive(ctx, f.ID, dir, r))
}

func (d *Driver) explainCopy(op string, err error) error {
	if err == nil || errors.Is(err, drivers.ErrNoPath) || errors.Is(err, drivers.ErrNotFound) {
		return err
	}
	return d.engine.Explain(op, err)
}

// readOnlyAt is the read-only mount that a path leads into; "" for none. While a container
// does not run, Podman writes into the mount's source, read-only or not.
func readOnlyAt(f Found, dir string) (target string) {
	dir = path.Clean("/" + dir)
	for t := range f.Writable {
		below := dir == t || strings.HasPrefix(dir, strings.TrimSuffix(t, "/")+"/")
		if below && len(t) > len(target) {
			target = t
		}
	}
	if f.Writable[target] {
		return ""
	}
	return target
}

// tail passes on what is written to it, and looks whether that ends as archives do: in two
// blocks of zeros.
type tail struct {
	w     io.Writer
	err   error // of w
	zeros int   // at the end
}

func (t *tail) Write(p []byte) (n int, err error) {
	n, t.err = t.w.Write(p)
	rest := len(bytes.TrimRight(p, "\x00"))
	if rest > 0 {
		t.zeros = 0
	}
	t.zeros += len(p) - rest
	return n, t.err
}

func (t *tail) ended() bool { return t.zeros >= 1024 }

func (d *Driver) Launch(ctx context.Context, id string, p drivers.Process) (int, error) {
	f, err := d.finder.find(ctx, id)
	if err != nil {
		return 0, err
	}
	if f.State != drivers.Running {
		return 0, drivers.ErrNotRunning
	}
	exec, err := d.engine.ExecCreate(ctx, f.ID, p, false)
	if err == nil {
		err = d.engine.ExecDetached(ctx, exec)
	}
	if err == nil {
		return 0, nil
	}
	if code := said.ExecFailure(err); code != 0 {
		return code, errors.New(said.FirstLine(err))
	}
	return 0, explainExec(d.engine, d.orEnded(ctx, f.ID, err))
}
