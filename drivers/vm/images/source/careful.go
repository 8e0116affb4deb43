package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// careful carries all that goes to a registry and to where that leads: for tokens,
// manifests and blobs. It
//
//  1. asks this host's own services only for a registry on this host
//  2. ends an answer of which nothing comes any more.
type careful struct {
	next  http.RoundTripper
	local bool          // the registry is on this host
	stall time.Duration // how long to wait for the next byte of an answer
}

// stallAfter is the wait for the next byte of a registry's answer. A test shortens it.
var stallAfter = time.Minute

// onThisHost reports whether a registry, HOST[:PORT], is on this host.
func onThisHost(registry string) bool {
	u := url.URL{Host: registry}
	return loopback(u.Hostname())
}

func (t *careful) RoundTrip(q *http.Request) (*http.Response, error) {
	if !t.local && loopback(q.URL.Hostname()) { // 1
		return nil, fmt.Errorf("the registry leads to %s on this host", q.URL.Host)
	}
	ctx, cancel := context.WithCancelCause(q.Context())
	answer, err := t.next.RoundTrip(q.WithContext(ctx))
	if err != nil {
		cancel(err)
		return nil, err
	}
	stalled := &stalledError{q.URL.Host, t.stall}
	answer.Body = &stallingBody{ // 2
		ReadCloser: answer.Body, ctx: ctx, cancel: cancel, after: t.stall,
		timer: time.AfterFunc(t.stall, func() { cancel(stalled) }),
	}
	return answer, nil
}

// stalledError says what became of an answer. A new try may help.
type stalledError struct {
	host  string
	after time.Duration
}

func (e *stalledError) Error() string {
	return fmt.Sprintf("nothing came from %s for %v", e.host, e.after)
}

// stallingBody waits for the next byte only while somebody reads.
type stallingBody struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	after  time.Duration
	timer  *time.Timer
}

func (b *stallingBody) Read(p []byte) (int, error) {
	b.timer.Reset(b.after)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	var stalled *stalledError
	if err != nil && err != io.EOF && errors.As(context.Cause(b.ctx), &stalled) {
		err = stalled
	}
	return n, err
}

func (b *stallingBody) Close() error {
	b.timer.Stop()
	b.cancel(nil)
	return b.ReadCloser.Close()
}

// plainOnLoopback refuses to send anything without TLS, except to this host itself.
type plainOnLoopback struct{ *http.Transport }

func (t *plainOnLoopback) RoundTrip(q *http.Request) (*http.Response, error) {
	if host := q.URL.Hostname(); q.URL.Scheme != "https" && !loopback(host) {
		return nil, fmt.Errorf("%s would be asked without TLS", host)
	}
	return t.Transport.RoundTrip(q)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && (ip.IsLoopback() || ip.IsUnspecified())
}

// withoutQueries is an error without the queries of the URLs in it: a URL that a registry
// leads to is often a key. It is one line, and not long.
type withoutQueries struct{ error }

// queries are those, with fragments.
var queries = regexp.MustCompile(`(https?://[^\s"'?#]*)[?#][^\s"']*`)

// maxError bounds the text of an error, in bytes. Some of it is a registry's.
const maxError = 1000

func (e withoutQueries) Error() string {
	line, _, _ := strings.Cut(queries.ReplaceAllString(e.error.Error(), "$1"), "\n")
	return strings.ToValidUTF8(line[:min(len(line), maxError)], "")
}

func (e withoutQueries) Unwrap() error { return e.error }
