package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"openshell-vm/internal/fault"
)

// repository is an image's place in a registry, with the credentials for it.
type repository struct {
	name.Repository
	client *http.Client
}

// answerWithin bounds the wait for the header of a registry's answer.
const answerWithin = time.Minute

func findRemote(ctx context.Context, r Reference, login Login) (*Image, error) {
	ref, err := name.ParseReference(r.Image)
	if err != nil {
		return nil, err
	}
	base := &careful{local: onThisHost(ref.Context().RegistryStr()), stall: stallAfter, next: &plainOnLoopback{&http.Transport{
		Proxy: http.ProxyFromEnvironment, ResponseHeaderTimeout: answerWithin, TLSHandshakeTimeout: answerWithin,
		DialContext: (&net.Dialer{Timeout: answerWithin / 2}).DialContext, ForceAttemptHTTP2: true, IdleConnTimeout: answerWithin,
	}}}
	rt, err := transport.NewWithContext(ctx, ref.Context().Registry, login.authenticator(), transport.NewRetry(base),
		[]string{ref.Scope(transport.PullScope)})
	if err != nil {
		return nil, explain(ref, err)
	}
	repo := repository{ref.Context(), &http.Client{Transport: rt}}
	image, err := repo.find(ctx, ref)
	if err != nil {
		return nil, explain(ref, err)
	}
	return image, nil
}

func (r repository) find(ctx context.Context, ref name.Reference) (*Image, error) {
	top, err := remote.Get(ref, remote.WithContext(ctx), remote.WithTransport(r.client.Transport))
	if err != nil {
		return nil, err
	}
	if top.MediaType == types.DockerManifestSchema1 || top.MediaType == types.DockerManifestSchema1Signed {
		return nil, errors.New("its manifest has a form that was given up in 2017")
	}
	manifest, digest, err := readManifest(top.Manifest, top.Digest, func(d v1.Descriptor, most int64) ([]byte, error) {
		return r.get(ctx, "manifests", d, most)
	})
	if err != nil {
		return nil, err
	}
	config, err := r.get(ctx, "blobs", manifest.Config, maxConfig)
	if err != nil {
		return nil, err
	}
	var layers []Layer
	for _, d := range manifest.Layers {
		layers = append(layers, Layer{Digest: d.Digest, Size: d.Size, Remote: true,
			Open: func(ctx context.Context, from int64) (io.ReadCloser, int64, error) {
				return r.open(ctx, "blobs", d.Digest, from)
			}})
	}
	return made(digest, config, manifest.Config.Digest, layers)
}

func (r repository) get(ctx context.Context, what string, d v1.Descriptor, most int64) ([]byte, error) {
	body, _, err := r.open(ctx, what, d.Digest, 0)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return verified(body, d.Digest, most)
}

// open asks for a manifest or blob, from a byte on. A registry that can't begin there
// sends all of it.
func (r repository) open(ctx context.Context, what string, digest v1.Hash, from int64) (io.ReadCloser, int64, error) {
	where := url.URL{Scheme: r.Scheme(), Host: r.RegistryStr(), Path: fmt.Sprintf("/v2/%s/%s/%s", r.RepositoryStr(), what, digest)}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, where.String(), nil)
	if err != nil {
		return nil, 0, err
	}
	if what == "manifests" {
		q.Header.Set("Accept", strings.Join([]string{string(types.OCIManifestSchema1), string(types.DockerManifestSchema2),
			string(types.OCIImageIndex), string(types.DockerManifestList)}, ","))
	}
	if from > 0 {
		q.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	answer, err := r.client.Do(q)
	if err == nil {
		err = transport.CheckError(answer, http.StatusOK, http.StatusPartialContent)
		if err != nil {
			answer.Body.Close()
		}
	}
	if err != nil {
		return nil, 0, withoutQueries{err}
	}
	begin := int64(0)
	if answer.StatusCode == http.StatusPartialContent {
		if n, err := fmt.Sscanf(answer.Header.Get("Content-Range"), "bytes %d-", &begin); n != 1 || err != nil || begin != from {
			answer.Body.Close()
			return nil, 0, errors.New("the registry sent another part than it was asked for")
		}
	}
	return answer.Body, begin, nil
}

// hintLocal is for those whose image was never pushed anywhere.
const hintLocal = "--image docker-daemon:NAME takes what the local Docker has, containers-storage:NAME what Podman has"

// explain says what to do about a registry's answer.
func explain(ref name.Reference, err error) error {
	const hint = "docker login or podman login for %s keeps a login that is used here, too; check the name: %s"
	var answer *transport.Error
	err = withoutQueries{err}
	switch registry := ref.Context().RegistryStr(); {
	case errors.Is(err, context.Canceled):
		return err
	case !errors.As(err, &answer):
		return &fault.Error{Err: err, Hint: "see that " + registry + " can be reached from this host; " + hintLocal}
	case answer.StatusCode == http.StatusNotFound:
		return &fault.Error{Err: errors.New("the registry has no such image"), Hint: "check the name, " + ref.Name() + "; " + hintLocal}
	case answer.StatusCode == http.StatusUnauthorized, answer.StatusCode == http.StatusForbidden:
		return &fault.Error{Err: errors.New("the registry has no such image, or gives it to nobody without a login"),
			Hint: fmt.Sprintf(hint, registry, ref.Name()) + "; " + hintLocal}
	case answer.StatusCode == http.StatusTooManyRequests:
		return &fault.Error{Err: errors.New("the registry was asked too often"), Hint: "wait, or log in: docker login or podman login"}
	}
	return err
}
