package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"openshell-vm/internal/discovery"
)

const (
	maxTTL     = 24 * time.Hour // see tokens.MaxTTL
	minTTL     = 16 * time.Second
	maxPublish = 24 * time.Hour
	maxHook    = 64 // words
)

func checkIssuer(v *Values) error {
	if v.Issuer == "" {
		return nil
	}
	if err := discovery.CheckURL(v.Issuer); err != nil {
		return fmt.Errorf("%q can't be an issuer: %w", v.Issuer, err)
	}
	return nil
}

// trustDomain is what the SPIFFE ID specification allows, section 2.1.
var trustDomain = regexp.MustCompile(`^[a-z0-9._-]{1,255}$`)

func checkTrustDomain(v *Values) error {
	if !trustDomain.MatchString(v.TrustDomain) {
		return fmt.Errorf("%q can't be a trust domain: it is 1 to 255 lower case letters, digits, dots, dashes and underscores",
			v.TrustDomain)
	}
	return nil
}

func checkPublishFor(v *Values) error {
	return between(v.PublishFor, 0, maxPublish)
}

func checkTTL(v *Values) error { return between(v.TTL, minTTL, maxTTL) }

func checkIdle(v *Values) error { return between(v.IdleAfter, 0, 365*24*time.Hour) }

func between(d Duration, least, most time.Duration) error {
	if d.Duration < least || d.Duration > most {
		return fmt.Errorf("%v is not between %v and %v", d, Duration{least}, Duration{most})
	}
	return nil
}

func checkHook(v *Values) error {
	switch {
	case len(v.Hook) == 0:
		return nil
	case len(v.Hook) > maxHook:
		return fmt.Errorf("it has %d words, at most %d are allowed", len(v.Hook), maxHook)
	case !filepath.IsAbs(v.Hook[0]):
		return fmt.Errorf("%q is no absolute path, and it is run without a shell", v.Hook[0])
	case strings.Contains(strings.Join(v.Hook, ""), "\x00"):
		return errors.New("it has a zero byte in it")
	}
	return nil
}

// checkListen refuses an address that is not this host's own in clear: who sits between could
// give a verifier keys of his own.
func checkListen(v *Values) error {
	if v.Listen == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(v.Listen)
	if err != nil {
		return fmt.Errorf("%q is not HOST:PORT", v.Listen)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%q is no port between 1 and 65535", port)
	}
	ip := net.ParseIP(host)
	if ip == nil && host != "" && host != "localhost" {
		return fmt.Errorf("%q is no IP address, and a name may lead to more than one", host)
	}
	if loopback := host == "localhost" || ip != nil && ip.IsLoopback(); !loopback && v.TLSCert == "" {
		return fmt.Errorf("%s can be reached from elsewhere: that needs tls-cert and tls-key", v.Listen)
	}
	return nil
}

func checkPair(path, other, name string) error {
	switch {
	case path == "":
		return nil
	case !filepath.IsAbs(path):
		return fmt.Errorf("%q is no absolute path", path)
	case other == "":
		return fmt.Errorf("it is of no use without %s", name)
	}
	return nil
}

func checkLogLevel(v *Values) error {
	if v.LogLevel != "info" && v.LogLevel != "debug" {
		return fmt.Errorf("%q is neither info nor debug", v.LogLevel)
	}
	return nil
}

// warnings are what can be done but should be known, one line each.
func (v Values) warnings() (lines []string) {
	if strings.HasPrefix(v.Issuer, "http://") {
		lines = append(lines, "the issuer "+v.Issuer+" is for trying out: nobody else can reach it, and no provider takes it")
	}
	if u, err := url.Parse(v.Issuer); err == nil && u.Scheme == "https" && u.Port() != "" {
		lines = append(lines, "the issuer "+v.Issuer+" has a port: AWS, by its documents, takes none in an issuer's URL")
	}
	if v.Issuer != "" && v.PublishFor.Duration == 0 {
		lines = append(lines, "publish-for is 0: a new key signs before any verifier can know it")
	}
	if v.Listen == "" && v.TLSCert != "" {
		lines = append(lines, "tls-cert has no effect: there is no listen")
	}
	return append(lines, v.clusterWarnings()...)
}
