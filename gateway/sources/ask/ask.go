// Package ask asks servers for credentials.
//
// What is promised: what is asked goes over TLS, but for the loopback. A redirect is not
// followed, since it could lead credentials elsewhere. An answer has a deadline and a limit. An
// error from here holds nothing that a server sent, and nothing that was sent to it.
package ask

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
	"unicode"
)

// Deadline bounds one question with its answer.
const Deadline = 30 * time.Second

// mostToken bounds a token, in bytes.
const mostToken = 64 << 10

// Client returns a client that reads at most so many bytes of an answer. It keeps no connection
// open between questions. It takes the proxies of the gateway's own environment.
func Client(most int64) *http.Client {
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment, // which leaves the loopback out
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		DisableKeepAlives:      true,
		ForceAttemptHTTP2:      true,
	}
	return &http.Client{Transport: limited{transport, most}, Timeout: Deadline,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// limited bounds the bodies of answers.
type limited struct {
	http.RoundTripper
	most int64
}

// errTooLarge is the error of an answer beyond the limit.
var errTooLarge = errors.New("its answer is too large")

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := l.RoundTripper.RoundTrip(r)
	if err == nil {
		answer.Body = &body{ReadCloser: answer.Body, left: l.most}
	}
	return answer, err
}

type body struct {
	io.ReadCloser
	left int64
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

// URL reads the address of a server. It refuses one without TLS that is not on the loopback, and
// one that holds a credential itself.
func URL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil, u.Host == "", len(raw) > 2048, u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("it is no URL such as https://example.com/token")
	case u.User != nil, u.Fragment != "", u.RawQuery != "":
		return nil, errors.New("a URL with a user, a query or a fragment can't be used")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, errors.New("only https can be used, but for the loopback: http would show the credentials to the network")
	}
	return u, nil
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback() || host == "localhost"
}

// Reason words why a server gave no answer that can be read.
func Reason(err error) error {
	var network *net.OpError
	var certificate *tls.CertificateVerificationError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, errTooLarge):
		return errTooLarge
	case errors.As(err, &timeout) && timeout.Timeout():
		return errors.New("it did not answer in time")
	case errors.As(err, &certificate):
		return errors.New("its certificate can't be trusted: " + untrusted(certificate.Err))
	case errors.As(err, &network):
		return fmt.Errorf("it can't be reached: %.200s", network)
	}
	return errors.New("its answer can't be read") // such errors quote what was sent
}

// untrusted words what is wrong with a certificate, without what stands in it.
func untrusted(err error) string {
	var host x509.HostnameError
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &host):
		return "it is for another host"
	case errors.As(err, &authority):
		return "nobody whom this host trusts has signed it"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "it has expired or is not valid yet, or the host's clock is wrong"
	}
	return "it is not valid"
}

// Token refuses what can be no token: it goes into files that are read by lines.
func Token(token string) error {
	odd := func(r rune) bool { return r <= ' ' || r >= unicode.MaxASCII }
	if token == "" || len(token) > mostToken || strings.ContainsFunc(token, odd) {
		return errors.New("its answer holds no token")
	}
	return nil
}
