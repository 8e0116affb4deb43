package docker

import (
	"context"
	"fmt"
	"io"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	api "github.com/docker/docker/api/types/container"

	"openshell-vm/drivers"
)

// wrapPath is wrap for requests about a path: the engine has one status for a container and
// for a path that is missing.
func wrapPath(path string, err error) error {
	if cerrdefs.IsNotFound(err) && !strings.Contains(err.Error(), "No such container") {
		return fmt.Errorf("%w: %s", drivers.ErrNoPath, path)
	}
	return wrap(err)
}

func (e *engine) StatPath(ctx context.Context, name, path string) (drivers.PathStat, error) {
	cli, err := e.client()
	if err != nil {
		return drivers.PathStat{}, err
	}
	stat, err := cli.ContainerStatPath(ctx, name, path)
	if cerrdefs.IsNotFound(err) { // the answer has no text: look which of the two is missing
		if _, missing := cli.ContainerInspect(ctx, name); missing != nil {
			return drivers.PathStat{}, wrap(missing)
		}
		return drivers.PathStat{}, fmt.Errorf("%w: %s", drivers.ErrNoPath, path)
	}
	return drivers.PathStat{Name: stat.Name, Size: stat.Size, Mode: stat.Mode, ModTime: stat.Mtime, LinkTarget: stat.LinkTarget}, err
}

func (e *engine) GetArchive(ctx context.Context, name, path string) (io.ReadCloser, error) {
	cli, err := e.client()
	if err != nil {
		return nil, err
	}
	archive, _, err := cli.CopyFromContainer(ctx, name, path)
	return archive, wrapPath(path, err)
}

// PutArchive leaves owners as they are in the archive. (CopyUIDGID would give all of it to
// the container's user.)
func (e *engine) PutArchive(ctx context.Context, name, dir string, r io.Reader) error {
	cli, err := e.client()
	if err != nil {
		return err
	}
	return wrapPath(dir, cli.CopyToContainer(ctx, name, dir, r, api.CopyToContainerOptions{}))
}

func (e *engine) ExecDetached(ctx context.Context, exec string) error {
	cli, err := e.client()
	if err != nil {
		return err
	}
	return wrap(cli.ContainerExecStart(ctx, exec, api.ExecStartOptions{Detach: true}))
}
