package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"openshell-vm/internal/fault"
)

// engine is a local Docker or Podman. Both speak Docker's API.
type engine struct {
	kind   string // for people
	client *http.Client
}

// copyFromEngine copies what an engine has into a file without a name, unless the caller has
// that image. What it copies it does not look at.
func copyFromEngine(ctx context.Context, r Reference, o Options) (Given, error) {
	e, err := dialEngine(r.Kind, o.Getenv)
	if err != nil {
		return Given{}, err
	}
	id, err := e.inspect(ctx, r.Image)
	if err != nil {
		return Given{}, err
	}
	if o.Has != nil && o.Has(id) {
		return Given{ID: id.String()}, nil
	}
	body, err := e.get(ctx, "/images/"+url.PathEscape(id.String())+"/get")
	if err != nil {
		return Given{}, err
	}
	defer body.Close()
	f, err := spool(body, o.TempDir)
	if err != nil {
		return Given{}, fmt.Errorf("copy it from %s: %w", e.kind, err)
	}
	return Given{ID: id.String(), File: f}, nil
}

// engineWithin bounds the wait for an engine's answer, and for its next byte: Docker packs
// all of an image before it sends anything.
const engineWithin = 15 * time.Minute

// dialEngine finds the engine's socket: the one that its variable names, root's, or the
// user's own.
func dialEngine(kind string, getenv func(string) string) (*engine, error) {
	e := &engine{kind: "Docker"}
	variable, sockets := "DOCKER_HOST", []string{"/var/run/docker.sock", filepath.Join(getenv("XDG_RUNTIME_DIR"), "docker.sock")}
	hint := "start Docker, or name its socket: DOCKER_HOST=unix:///PATH, then openshell-vm gateway restart"
	if kind == Podman {
		e.kind, variable = "Podman", "CONTAINER_HOST"
		sockets = []string{"/run/podman/podman.sock", filepath.Join(getenv("XDG_RUNTIME_DIR"), "podman/podman.sock")}
		if os.Getuid() != 0 {
			sockets[0], sockets[1] = sockets[1], sockets[0]
		}
		hint = "start Podman's service (systemctl start podman.socket), " +
			"or name its socket: CONTAINER_HOST=unix:///PATH, then openshell-vm gateway restart"
	}
	if host := getenv(variable); host != "" {
		path, ok := strings.CutPrefix(host, "unix://")
		if !ok {
			return nil, &fault.Error{Err: fmt.Errorf("%s is %s, which is no socket on this host", variable, host), Hint: hint}
		}
		sockets = []string{path}
	}
	var first error
	for _, socket := range sockets {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		conn.Close()
		e.client = &http.Client{Transport: &careful{local: true, stall: engineWithin, next: &http.Transport{
			ResponseHeaderTimeout: engineWithin, DisableCompression: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", socket)
			},
		}}}
		return e, nil
	}
	return nil, &fault.Error{Op: "ask " + e.kind, Err: first, Hint: hint}
}

// inspect returns the ID of what the engine has under a name.
func (e *engine) inspect(ctx context.Context, image string) (v1.Hash, error) {
	body, err := e.get(ctx, "/images/"+url.PathEscape(image)+"/json")
	if err != nil {
		return v1.Hash{}, err
	}
	defer body.Close()
	var found struct{ ID string }
	if err := json.NewDecoder(io.LimitReader(body, maxConfig)).Decode(&found); err != nil {
		return v1.Hash{}, fmt.Errorf("ask %s: %w", e.kind, err)
	}
	if !strings.Contains(found.ID, ":") {
		found.ID = "sha256:" + found.ID
	}
	return v1.NewHash(found.ID)
}

func (e *engine) get(ctx context.Context, path string) (io.ReadCloser, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine"+path, nil)
	if err != nil {
		return nil, err
	}
	answer, err := e.client.Do(q)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", e.kind, err)
	}
	if answer.StatusCode == http.StatusOK {
		return answer.Body, nil
	}
	defer answer.Body.Close()
	var said struct {
		Message string `json:"message"`
	}
	_ = json.NewDecoder(io.LimitReader(answer.Body, 1<<16)).Decode(&said)
	if answer.StatusCode == http.StatusNotFound {
		return nil, &fault.Error{Err: fmt.Errorf("%s has no such image", e.kind),
			Hint: "see what it has: " + strings.ToLower(e.kind) + " images"}
	}
	return nil, errors.New(e.kind + " answered: " + said.Message)
}
