package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"openshell-vm/internal/peer"
)

// ErrNotRunning means that no gateway listens. EnsureStarted starts one.
var ErrNotRunning = errors.New("the gateway is not running")

// Client talks to one gateway. Its methods are about sandboxes and the gateway itself, its
// fields about all else. It is safe for concurrent use. If the gateway answers with an
// error, that is an *Error. Most other errors mean that the gateway could not be reached.
type Client struct {
	Tokens  TokenClient
	Shares  ShareClient
	Volumes VolumeClient
	Secrets SecretClient
	Images  ImageClient
	Keys    KeyClient
	Config  ConfigClient
	Issuer  IssuerClient

	socket string
	owner  uint32 // see stateOwner
	http   *http.Client
	met    Status
}

// Connect connects to the gateway of this environment: see Socket. It makes sure that the
// gateway answers, and that its state directory is the one that the environment names. The
// error wraps ErrNotRunning if no gateway listens.
func Connect(ctx context.Context) (*Client, error) {
	c, err := Reach(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.meet(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Listens reports whether this environment's gateway listens, and can be trusted: see Reach.
func Listens(ctx context.Context) bool {
	client, err := Reach(ctx)
	if err != nil {
		return false
	}
	client.Close()
	return true
}

// Reach is Connect without a request. It only makes sure that the process that listens can be
// trusted: it belongs to this user or to root, or root asks and it belongs to the state
// directory's owner.
func Reach(ctx context.Context) (*Client, error) {
	socket, err := Socket()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, ErrNotRunning
	case errors.Is(err, fs.ErrPermission):
		return nil, &Error{Code: CodeForbidden, Message: fmt.Sprintf("find the gateway: %v", err),
			Hint: "run as the owner of the state directory, or choose another one with " + EnvStateDir}
	case err != nil:
		var known *Error
		if errors.As(err, &known) {
			return nil, err
		}
		return nil, &Error{Code: CodeInternal, Message: fmt.Sprintf("find the gateway: %v", err),
			Hint: "see what is there, or choose another state directory with " + EnvStateDir}
	}
	c := &Client{socket: socket, owner: stateOwner()}
	c.Tokens, c.Shares, c.Volumes, c.Images, c.Keys = TokenClient{c}, ShareClient{c}, VolumeClient{c}, ImageClient{c}, KeyClient{c}
	c.Config, c.Issuer, c.Secrets = ConfigClient{c}, IssuerClient{c}, SecretClient{c}
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	conn.Close()
	c.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
	}}
	return c, nil
}

// Close drops idle connections. The client must not be used afterwards.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// dial connects to the gateway, if that can be trusted: see Reach.
func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	conn, err := peer.Dial(ctx, c.socket, c.owner)
	switch {
	case err == nil:
		return conn, nil
	case errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%w: nobody listens on %s", ErrNotRunning, c.socket)
	case errors.Is(err, peer.ErrForeign):
		return nil, &Error{Code: CodeForbidden, Message: fmt.Sprintf("the socket %s can't be trusted: %v", c.socket, err),
			Hint: "have it removed, or choose another place with " + EnvRuntimeDir}
	case errors.Is(err, fs.ErrPermission):
		return nil, &Error{Code: CodeForbidden, Message: fmt.Sprintf("connect to the gateway: permission denied on %s", c.socket),
			Hint: "run as the user whose gateway this is"}
	}
	return nil, err
}

// Status reports on the gateway itself.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return short[Status](ctx, c, "GET", "/v1/status", nil)
}

// Met returns the Status that the gateway gave to Connect.
func (c *Client) Met() Status { return c.met }

// stopDeadline bounds the end of a gateway. What it is doing may take some seconds.
const stopDeadline = 30 * time.Second

// StopGateway ends the gateway. Sandboxes go on. It returns once this gateway does not serve
// any more. Somebody else may have started another one by then.
func (c *Client) StopGateway(ctx context.Context) error {
	before, err := c.Status(ctx)
	if err != nil {
		return err
	}
	if _, err := short[struct{}](ctx, c, "POST", "/v1/stop", nil); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, stopDeadline)
	defer cancel()
	for {
		// A gateway that is ending may fail in any way. An answer may come from its successor.
		now, err := c.Status(bounded)
		if errors.Is(err, ErrNotRunning) || err == nil && now.PID != before.PID {
			return nil
		}
		select {
		case <-bounded.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return silent(before.PID, stopDeadline)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Doctor probes every driver, which may take some seconds.
func (c *Client) Doctor(ctx context.Context) (Doctor, error) {
	return call[Doctor](ctx, c, "GET", "/v1/doctor", nil)
}

// Create makes a sandbox and its share, and does not start it.
func (c *Client) Create(ctx context.Context, r CreateRequest) (Sandbox, error) {
	return call[Sandbox](ctx, c, "POST", "/v1/sandboxes", r)
}

// List returns all sandboxes, oldest first.
func (c *Client) List(ctx context.Context) ([]Sandbox, error) {
	return short[[]Sandbox](ctx, c, "GET", "/v1/sandboxes", nil)
}

// Get returns one sandbox, with the driver's own facts.
func (c *Client) Get(ctx context.Context, ref string) (Sandbox, error) {
	return short[Sandbox](ctx, c, "GET", sandboxPath(ref), nil)
}

// Start publishes a fresh token and starts the sandbox. It leaves one that runs as it is.
func (c *Client) Start(ctx context.Context, ref string) (Sandbox, error) {
	return call[Sandbox](ctx, c, "POST", sandboxPath(ref, "start"), nil)
}

// Stop asks the workload to end, and kills it after grace. It returns once the workload
// has ended.
func (c *Client) Stop(ctx context.Context, ref string, grace time.Duration) (Sandbox, error) {
	return call[Sandbox](ctx, c, "POST", sandboxPath(ref, "stop"), StopRequest{Grace: grace})
}

// Signal sends a signal number to the workload's main process.
func (c *Client) Signal(ctx context.Context, ref string, signal int) error {
	_, err := call[struct{}](ctx, c, "POST", sandboxPath(ref, "signal"), SignalRequest{Signal: signal})
	return err
}

// Wait returns once the sandbox does not run. If it does not run now, Wait returns at once.
func (c *Client) Wait(ctx context.Context, ref string) (WaitResult, error) {
	return call[WaitResult](ctx, c, "GET", sandboxPath(ref, "wait"), nil)
}

// Remove deletes a sandbox with its share. It deletes one that runs only with force.
func (c *Client) Remove(ctx context.Context, ref string, force bool) error {
	path := sandboxPath(ref)
	if force {
		path += "?force=1"
	}
	_, err := call[struct{}](ctx, c, "DELETE", path, nil)
	return err
}

// Metrics copies the gateway's metrics, in Prometheus' text format, to w.
func (c *Client) Metrics(ctx context.Context, w io.Writer) error {
	ctx, cancel := bound(ctx, c, shortDeadline)
	defer cancel()
	body, err := c.send(ctx, "GET", "/metrics", nil)
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(w, body)
	return err
}

// sandboxPath returns /v1/sandboxes/ref/…, with ref escaped.
func sandboxPath(ref string, more ...string) string {
	return strings.Join(append([]string{"/v1/sandboxes", url.PathEscape(ref)}, more...), "/")
}

// call sends in (if not nil) as JSON and decodes the answer, if there is one.
func call[Out any](ctx context.Context, c *Client, method, path string, in any) (out Out, err error) {
	body, err := c.send(ctx, method, path, in)
	if err != nil {
		return out, err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(&out); err != nil && err != io.EOF {
		return out, fmt.Errorf("read the gateway's answer: %w", err)
	}
	return out, nil
}

// send returns the body of a successful answer. The caller closes it.
func (c *Client) send(ctx context.Context, method, path string, in any) (io.ReadCloser, error) {
	request, err := newRequest(ctx, method, path, in)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		var late *Error
		if errors.As(context.Cause(ctx), &late) {
			return nil, late
		}
		return nil, unwrapURL(err)
	}
	if response.StatusCode >= 400 {
		defer response.Body.Close()
		return nil, readError(response)
	}
	return response.Body, nil
}

// raw is a request's body that is sent as it is.
type raw []byte

func newRequest(ctx context.Context, method, path string, in any) (*http.Request, error) {
	var body io.Reader
	content, asIs := in.(raw)
	if asIs {
		body = bytes.NewReader(content)
	} else if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://gateway"+path, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set(Header, fmt.Sprint(Version))
	if asIs {
		request.Header.Set("Content-Type", "application/octet-stream")
	} else if in != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	return request, nil
}

// readError makes the *Error of an answer with a status of 400 or more.
func readError(response *http.Response) error {
	data, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	answer := &Error{}
	if err := json.Unmarshal(data, answer); err != nil || answer.Message == "" {
		return &Error{Code: CodeInternal,
			Message: fmt.Sprintf("the gateway answered %s: %s", response.Status, bytes.TrimSpace(data))}
	}
	return answer
}

// unwrapURL removes the url.Error: its host name is made up.
func unwrapURL(err error) error {
	var wrapped *url.Error
	if !errors.As(err, &wrapped) {
		return err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return errEnded
	}
	return wrapped.Err
}

var errEnded = lostStream{&Error{Code: CodeInternal, Message: "the gateway ended before it answered",
	Hint: "try again; if it happens again, read gateway.log in the state directory"}}
