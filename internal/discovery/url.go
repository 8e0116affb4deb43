package discovery

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// maxURL bounds an issuer's URL. AWS takes no more than 255 characters.
const maxURL = 255

// CheckURL refuses what can't be an issuer's URL. Verifiers compare it byte by byte with the
// iss of each token and with what the discovery document says, so there is one way to write
// it: lower case, and no slash at its end. Plain HTTP is for trying out, on this host only:
// see Local.
func CheckURL(issuer string) error {
	u, err := url.Parse(issuer)
	switch {
	case err != nil:
		return errors.New("it is no URL")
	case len(issuer) > maxURL:
		return fmt.Errorf("it has %d characters, at most %d are allowed", len(issuer), maxURL)
	case u.Scheme != "https" && u.Scheme != "http":
		return errors.New("it does not begin with https://")
	case u.User != nil:
		return errors.New("it has a user's name in it, which would be in every token")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(issuer, "#"):
		return errors.New("it has a query or a fragment, and an issuer has neither")
	case u.Hostname() == "":
		return errors.New("it has no host")
	case strings.HasSuffix(issuer, "/"):
		return errors.New("it ends in a slash: verifiers compare the very text, so leave the slash off")
	case u.Scheme == "http" && !Local(issuer):
		return errors.New("only http://127.0.0.1 and http://localhost may do without https, for trying out")
	}
	return checkSpelling(u, issuer)
}

// checkSpelling refuses a URL that some verifiers would write in another way.
func checkSpelling(u *url.URL, issuer string) error {
	for _, c := range issuer {
		if c <= ' ' || c >= 0x7f || strings.ContainsRune(`%"'<>\^{|}`+"`", c) {
			return fmt.Errorf("it has the character %q in it, which is written in more than one way", c)
		}
	}
	if u.Host != strings.ToLower(u.Host) || !strings.HasPrefix(issuer, u.Scheme+"://") {
		return errors.New("its host is not in lower case")
	}
	if u.String() != issuer || strings.HasSuffix(u.Host, ":") {
		return fmt.Errorf("it is usually written %s", strings.TrimSuffix(u.String(), ":"))
	}
	for _, part := range strings.Split(strings.TrimPrefix(u.Path, "/"), "/") {
		if u.Path != "" && (part == "" || part == "." || part == "..") {
			return errors.New("its path has an empty part, or one of dots")
		}
	}
	return nil
}

// Local reports whether a URL leads to this host itself.
func Local(issuer string) bool {
	u, err := url.Parse(issuer)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}
