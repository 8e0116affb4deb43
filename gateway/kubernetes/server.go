package kubernetes

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"openshell-vm/gateway/config"
	"openshell-vm/gateway/oauth"
	"openshell-vm/internal/plainfile"
	"openshell-vm/internal/text"
)

const (
	maxAnswer   = 1 << 20  // bytes, of the body
	maxHeader   = 64 << 10 // bytes
	maxRequests = 8        // at a time, to one API server
	maxFile     = 1 << 20  // bytes, of a CA or a credential
)

// server is a cluster's API server, or where its issuer's documents are. It is safe for concurrent
// use.
type server struct {
	url      string // without a slash at the end
	pinned   bool   // the configuration names it, and not only the issuer
	ca       string // file; "" for the system's
	token    string // file; "" for none
	log      *slog.Logger
	requests chan struct{}
	waiting  chan struct{} // exchanges

	mu      sync.Mutex
	over    *http.Client
	caText  []byte // of over
	problem string // that was logged last
}

func newServer(s config.Cluster, log *slog.Logger) *server {
	return &server{url: strings.TrimRight(s.Server, "/"), pinned: s.Server != s.Issuer, ca: s.CA, token: s.TokenFile, log: log,
		requests: make(chan struct{}, maxRequests), waiting: make(chan struct{}, maxExchanges)}
}

// enter is called by an exchange that is going to wait for the server, and leave at the end of that.
// Who comes when too many do is told to come again: they would keep others from the listener. Who
// need not wait is not held up by those who do.
func (s *server) enter() (leave func(), bad *oauth.Refusal) {
	select {
	case s.waiting <- struct{}{}:
		return func() { <-s.waiting }, nil
	default:
		return nil, refuse(oauth.Unavailable, "too many exchanges with this cluster are under way")
	}
}

// turn waits until the server may be asked, or ctx has ended. What it returns is to be called
// afterwards.
func (s *server) turn(ctx context.Context) (end func()) {
	select {
	case s.requests <- struct{}{}:
		return func() { <-s.requests }
	case <-ctx.Done(): // the request fails at once
		return func() {}
	}
}

// client returns what goes to the server. The CA's file is read each time, for it may change.
func (s *server) client() (*http.Client, error) {
	var ca []byte
	if s.ca != "" {
		var err error
		if ca, err = plainfile.Read(s.ca, maxFile); err != nil {
			return nil, fmt.Errorf("read the cluster's CA: %w", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over != nil && bytes.Equal(ca, s.caText) {
		return s.over, nil
	}
	var roots *x509.CertPool
	if s.ca != "" {
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(ca) {
			return nil, fmt.Errorf("%s holds no certificate", s.ca)
		}
	}
	if s.over != nil {
		s.over.CloseIdleConnections()
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment,
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DialContext:     (&net.Dialer{Timeout: patience}).DialContext, TLSHandshakeTimeout: patience, ResponseHeaderTimeout: patience,
		MaxResponseHeaderBytes: maxHeader, MaxConnsPerHost: maxRequests, MaxIdleConnsPerHost: 2, IdleConnTimeout: 30 * time.Second,
		DisableCompression: true}
	s.over, s.caText = &http.Client{
		Transport: bounded{transport, s.token},
		// A redirect would lead the credential, or the question whose keys count, elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, ca
	return s.over, nil
}

// bounded adds the credential to requests, and bounds the answers.
type bounded struct {
	*http.Transport
	token string // file; it is read for each request
}

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.token != "" {
		text, err := plainfile.Read(b.token, maxFile)
		credential := strings.TrimSpace(string(text))
		if err == nil && (credential == "" || strings.ContainsAny(credential, " \t\r\n")) {
			err = errors.New("it holds no credential")
		}
		if err != nil {
			return nil, fmt.Errorf("read the credential for the API server: %w", err)
		}
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+credential)
	}
	response, err := b.Transport.RoundTrip(r)
	if err == nil {
		response.Body = &body{response.Body, maxAnswer}
	}
	return response, err
}

var errLong = fmt.Errorf("the answer has more than %d bytes", maxAnswer)

// body is an answer's, up to so many bytes.
type body struct {
	io.ReadCloser
	left int
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left+1)])
	if b.left -= n; b.left < 0 {
		return 0, errLong
	}
	return n, err
}

// statusError is an answer that is none.
type statusError struct{ code int }

func (e *statusError) Error() string {
	return fmt.Sprintf("the server answers %d %s", e.code, http.StatusText(e.code))
}

// get fetches a document.
func (s *server) get(ctx context.Context, address string) ([]byte, error) {
	client, err := s.client()
	if err != nil {
		return nil, err
	}
	defer s.turn(ctx)()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json, application/jwk-set+json")
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, &statusError{response.StatusCode}
	}
	return io.ReadAll(response.Body)
}

// beside is the address of the keys, as the discovery document has it. An API server names one by
// which others reach it, so of that only the path counts here. An issuer that is reached by its own
// URL has its keys at the same host.
func (s *server) beside(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return "", errors.New("the discovery document has no https address of the keys")
	}
	if s.pinned {
		return s.url + u.RequestURI(), nil
	}
	if own, err := url.Parse(s.url); err != nil || own.Host != u.Host {
		return "", fmt.Errorf("the keys are at another host than the issuer: %.80q", u.Host)
	}
	return "https://" + u.Host + u.RequestURI(), nil
}

// away reports whether an error means that the server may answer later. If it does not, somebody
// has to change something.
func away(err error) bool {
	var sent *url.Error
	if errors.As(err, &sent) {
		if sent.Timeout() {
			return true
		}
		err = sent.Err
	}
	var status *statusError
	var answer apierrors.APIStatus
	code := 0
	switch {
	case errors.As(err, &status):
		code = status.code
	case errors.As(err, &answer):
		code = int(answer.Status().Code)
	}
	if code != 0 {
		return code >= 500 || code == http.StatusTooManyRequests || code == http.StatusRequestTimeout
	}
	var connection *net.OpError
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &connection)
}

// outOfReach is the refusal because of an error. The gateway's log has more of it: who asks need not
// know where the API server is.
func outOfReach(err error, why string) *oauth.Refusal {
	if away(err) {
		return refuse(oauth.Unavailable, why+": its API server does not answer")
	}
	return refuse(oauth.ServerError, why+": the gateway's log has the reason")
}

// tell logs what goes wrong, once until something else does.
func (s *server) tell(err error) {
	line := ""
	if err != nil {
		line = text.Line(err.Error())
	}
	s.mu.Lock()
	known := s.problem == line
	s.problem = line
	s.mu.Unlock()
	switch {
	case known:
	case line == "":
		s.log.Info("the cluster answers again")
	default:
		s.log.Warn("the cluster can't be asked", "server", s.url, "error", line)
	}
}
