package main

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// permit refuses a host that is not the one that the token is for. Whoever makes git or docker
// ask for another one would get a token that is good for the audience.
func (c call) permit(program, scheme, host string) error {
	own := c.host
	if own == "" {
		scheme, host := serverOf(c.audience)
		if !strings.Contains(c.audience, "://") || scheme != "https" || host == "" {
			return errors.New("the audience names no https host: say with --host which one gets the token")
		}
		own = host
	}
	switch {
	case scheme != "https":
		return fmt.Errorf("%s asks for a host without TLS: it gets no token", program)
	case host == "" || plainHost(host) != plainHost(own):
		return fmt.Errorf("%s asks for the host %.80q: it gets no token, which is for %q", program, host, own)
	}
	return nil
}

// serverOf takes a URL or a host apart. A host alone is taken for one with TLS. Both are "" for
// anything else.
func serverOf(server string) (scheme, host string) {
	if !strings.Contains(server, "://") {
		server = "https://" + server
	}
	u, err := url.Parse(server)
	if err != nil || u.User != nil {
		return "", ""
	}
	return strings.ToLower(u.Scheme), u.Host
}

// plainHost is the form in which hosts are compared: in lower case, without the usual port.
func plainHost(host string) string { return strings.TrimSuffix(strings.ToLower(host), ":443") }
