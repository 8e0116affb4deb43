package podman

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/containers/podman/v5/pkg/bindings"

	"openshell-vm/drivers"
)

// StatPath is right about a link that leads nowhere, too: Podman then describes the link and
// says that there is nothing.
func (e *engine) StatPath(ctx context.Context, name, path string) (stat drivers.PathStat, err error) {
	conn, err := e.connect(ctx)
	if err != nil {
		return stat, err
	}
	response, err := doWithContext(ctx, func() (*bindings.APIResponse, error) {
		return conn.DoRequest(ctx, nil, http.MethodHead, "/containers/%s/archive", values("path", path), nil, name)
	})
	if err != nil {
		return stat, err
	}
	defer response.Body.Close()
	header := response.Header.Get("X-Docker-Container-Path-Stat")
	if header == "" {
		if response.StatusCode != http.StatusNotFound {
			return stat, fmt.Errorf("the service answered %s", response.Status)
		}
		if _, err := e.Inspect(ctx, name); err != nil {
			return stat, err
		}
		return stat, noPath(path)
	}
	data, err := base64.URLEncoding.DecodeString(header)
	if err != nil {
		return stat, err
	}
	err = json.Unmarshal(data, &stat)
	if err == nil && !response.IsSuccess() && stat.LinkTarget == "" {
		err = noPath(path)
	}
	return stat, err
}

func noPath(path string) error { return fmt.Errorf("%w: %s", drivers.ErrNoPath, path) }

// wrapPath is for requests about a path: the service has one status for a container and for
// a path that is missing.
func wrapPath(path string, err error) error {
	var r *refusal
	if errors.As(err, &r) && (r.code == http.StatusNotFound || strings.Contains(r.text, "o such file or directory")) {
		return noPath(path)
	}
	return err
}

func (e *engine) GetArchive(ctx context.Context, name, path string) (io.ReadCloser, error) {
	response, err := e.send(ctx, http.MethodGet, "/containers/%s/archive", values("path", path), nil, name)
	if err != nil {
		return nil, wrapPath(path, err)
	}
	return withoutSetIDs(response.Body), nil
}

// PutArchive leaves owners as they are in the archive. (copyUIDGID would give all of it to
// the container's user.)
func (e *engine) PutArchive(ctx context.Context, name, dir string, r io.Reader) error {
	conn, err := e.connect(ctx)
	if err != nil {
		return err
	}
	body := &once{r: r}
	defer body.Close()
	response, err := doWithContext(ctx, func() (*bindings.APIResponse, error) {
		return conn.DoRequest(ctx, body, http.MethodPut, "/containers/%s/archive",
			values("path", dir, "copyUIDGID", "false", "noOverwriteDirNonDir", "true"), nil, name)
	})
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.IsSuccess() {
		return nil
	}
	return wrapPath(dir, wrap(response.Process(nil)))
}

// once is a request's body that is sent once. The bindings try again after a failure, with
// what is left of the body.
type once struct {
	r      io.Reader
	closed atomic.Bool
}

func (o *once) Read(p []byte) (int, error) {
	if o.closed.Load() {
		return 0, errors.New("the request was broken off")
	}
	return o.r.Read(p)
}

func (o *once) Close() error {
	o.closed.Store(true)
	return nil
}

func (e *engine) ExecDetached(ctx context.Context, exec string) error {
	return e.call(ctx, http.MethodPost, "/exec/%s/start", nil, map[string]any{"Detach": true}, nil, exec)
}
