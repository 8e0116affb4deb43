package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// place is where this program asks.
type place struct {
	base   string // what its URLs begin with
	client *http.Client
}

// find takes envURL: in a sandbox its socket, in a cluster's pod the gateway's https address.
func find() (*place, error) {
	address := orUsual(envURL, usualURL)
	transport, base := &http.Transport{Proxy: http.ProxyFromEnvironment}, strings.TrimSuffix(address, "/")
	if path, ok := strings.CutPrefix(address, "unix://"); ok {
		base = "http://gateway"
		transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}
	} else if !plainHTTPS(address) {
		return nil, fmt.Errorf("%s is %q, and has to be unix:///PATH or https://HOST", envURL, address)
	}
	// A redirect would send the token to another host.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &place{base: base, client: &http.Client{Transport: transport, CheckRedirect: stay}}, nil
}

// plainHTTPS reports whether it is an address to which a path can be added.
func plainHTTPS(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil && u.RawQuery+u.Fragment == ""
}

// cause drops the address, which is none that anybody wrote, or that the environment has.
func cause(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		err = e.Err
	}
	unknown, none := x509.UnknownAuthorityError{}, x509.SystemRootsError{}
	if errors.As(err, &unknown) || errors.As(err, &none) {
		return fmt.Errorf("%w: SSL_CERT_FILE names the certificates to trust", err)
	}
	return err
}
