package podman

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/containers/podman/v5/pkg/bindings"
	"github.com/containers/podman/v5/pkg/errorhandling"

	"openshell-vm/drivers"
	"openshell-vm/drivers/container"
)

// call makes a request and decodes the answer into result, unless that is nil. parts
// take the places of %s in the path.
func (e *engine) call(ctx context.Context, method, path string, query url.Values, body, result any, parts ...string) error {
	response, err := e.send(ctx, method, path, query, body, parts...)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return response.Process(result)
}

// ask makes a request that changes nothing. If the service fails at it, ask makes it
// again: Podman may have read /proc of a process that has just ended, and can answer a
// moment later. A request that fails each time takes two thirds of a second.
func (e *engine) ask(ctx context.Context, method, path string, query url.Values, result any, parts ...string) error {
	for try := 0; ; try++ {
		err := e.call(ctx, method, path, query, nil, result, parts...)
		var r *refusal
		if !errors.As(err, &r) || r.code < http.StatusInternalServerError || try == askAgain || container.Pause(ctx, askPause<<try) != nil {
			return err
		}
	}
}

// How often ask asks again, and the first pause before that. Each pause is twice as long
// as the one before.
const (
	askAgain = 5
	askPause = 20 * time.Millisecond
)

// send makes a request and gives the answer. The caller closes its body. An answer that
// is no success is an error.
func (e *engine) send(ctx context.Context, method, path string, query url.Values, body any,
	parts ...string) (*bindings.APIResponse, error) {
	conn, err := e.connect(ctx)
	if err != nil {
		return nil, err
	}
	return request(ctx, conn, method, path, query, body, nil, parts...)
}

func request(ctx context.Context, conn *bindings.Connection, method, path string, query url.Values, body any,
	headers http.Header, parts ...string) (*bindings.APIResponse, error) {
	var content io.Reader
	if headers == nil {
		headers = http.Header{}
	}
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(data)
		headers.Set("Content-Type", "application/json")
	}
	response, err := doWithContext(ctx, func() (*bindings.APIResponse, error) {
		return conn.DoRequest(ctx, content, method, path, query, headers, parts...)
	})
	if err != nil {
		return nil, err
	}
	if response.IsSuccess() || response.StatusCode == http.StatusSwitchingProtocols || response.StatusCode == http.StatusNotModified {
		return response, nil
	}
	defer response.Body.Close()
	return nil, wrap(response.Process(nil))
}

// doWithContext returns as soon as ctx ends: the bindings' own retries do not.
func doWithContext(ctx context.Context, do func() (*bindings.APIResponse, error)) (*bindings.APIResponse, error) {
	type result struct {
		response *bindings.APIResponse
		err      error
	}
	c := make(chan result, 1)
	go func() {
		response, err := do()
		c <- result{response, err}
	}()
	select {
	case r := <-c:
		return r.response, r.err
	case <-ctx.Done():
		go func() {
			if r := <-c; r.err == nil {
				r.response.Body.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

// wrap turns the service's kinds of error into the drivers'. For a name in use Podman
// has had several status codes.
func wrap(err error) error {
	var answer *errorhandling.ErrorModel
	if !errors.As(err, &answer) {
		return err
	}
	text := answer.Message
	switch {
	case strings.Contains(text, "no such container") || strings.Contains(text, "no container with") ||
		strings.Contains(text, "container has already been removed"):
		return fmt.Errorf("%w (%s)", drivers.ErrNotFound, text)
	case strings.Contains(text, "already in use"):
		return fmt.Errorf("%w (%s)", drivers.ErrExists, text)
	case strings.Contains(text, "can only kill running containers") || strings.Contains(text, "container not running"):
		return fmt.Errorf("%w (%s)", drivers.ErrNotRunning, text)
	}
	return &refusal{answer.ResponseCode, text}
}

// refusal is the service's error without the cause: the message has it already.
type refusal struct {
	code int
	text string
}

func (r *refusal) Error() string { return r.text }

// conn is a container.Conn. The answer's body is the stream. The socket below it can end
// the input.
type conn struct {
	io.ReadWriteCloser
	socket net.Conn
}

func (c conn) CloseWrite() error {
	if half, ok := c.socket.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.New("this connection can't be closed for writing alone")
}

// hijack makes a request that turns its connection into a stream.
func (e *engine) hijack(ctx context.Context, path string, query url.Values, body any, parts ...string) (*conn, error) {
	base, err := e.connect(ctx)
	if err != nil {
		return nil, err
	}
	var socket net.Conn
	own := *base
	own.Client = &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var err error
			socket, err = base.GetDialer(ctx)
			return socket, err
		},
	}}
	headers := http.Header{"Connection": {"Upgrade"}, "Upgrade": {"tcp"}}
	// ctx bounds only the wait for the stream. The stream itself goes on until it is closed.
	response, err := doWithContext(ctx, func() (*bindings.APIResponse, error) {
		return request(context.WithoutCancel(ctx), &own, http.MethodPost, path, query, body, headers, parts...)
	})
	if err != nil {
		return nil, err
	}
	stream, ok := response.Body.(io.ReadWriteCloser)
	if response.StatusCode != http.StatusSwitchingProtocols || !ok {
		response.Body.Close()
		return nil, fmt.Errorf("the service answered %s where a stream was wanted", response.Status)
	}
	return &conn{stream, socket}, nil
}
