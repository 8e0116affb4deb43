package config

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Cluster is a Kubernetes cluster whose pods may exchange their ServiceAccount's tokens. Its name
// is the table's: [clusters.NAME].
type Cluster struct {
	Issuer    string  `toml:"issuer"`     // iss of its tokens
	Audience  string  `toml:"audience"`   // aud of those that are taken; by default the gateway's own issuer
	Server    string  `toml:"server"`     // URL of its API server; by default the issuer
	CA        string  `toml:"ca"`         // PEM file; "" for the system's
	TokenFile string  `toml:"token-file"` // with the credential for the API server; "" for none
	Check     string  `toml:"check"`      // ByKeys or ByReview
	Allow     []Allow `toml:"allow"`      // the first that fits counts
}

// How a cluster's tokens are checked.
const (
	ByKeys   = "jwks"         // with the cluster's public keys
	ByReview = "token-review" // by asking its API server about each token
)

// Allow says which tokens a ServiceAccount's pods get.
type Allow struct {
	Namespace      string   `toml:"namespace"`
	ServiceAccount string   `toml:"service-account"` // Every for all of the namespace
	Audiences      []string `toml:"audiences"`
	Algorithm      string   `toml:"alg"` // by default ES256
	TokenID        *bool    `toml:"jti"` // by default true; false for who takes each jti only once
}

// NoID reports whether its tokens have no jti.
func (a Allow) NoID() bool { return a.TokenID != nil && !*a.TokenID }

// Every stands for each ServiceAccount of a namespace.
const Every = "*"

// clusterSetting is one of a cluster's.
type clusterSetting struct {
	name, form string
	value      func(*Cluster) *string
	check      func(*Cluster) error
}

var clusterSettings = []clusterSetting{
	{"issuer", `a URL such as "https://kubernetes.default.svc.cluster.local"`,
		func(c *Cluster) *string { return &c.Issuer }, func(c *Cluster) error { return checkHTTPS(c.Issuer) }},
	{"audience", `what the projected token is for, such as "https://tokens.example.org"`,
		func(c *Cluster) *string { return &c.Audience }, func(c *Cluster) error { return checkAudience(c.Audience) }},
	{"server", `a URL such as "https://10.0.0.1:6443"`,
		func(c *Cluster) *string { return &c.Server }, func(c *Cluster) error { return checkHTTPS(c.Server) }},
	{"ca", "the path of a PEM file", func(c *Cluster) *string { return &c.CA }, func(c *Cluster) error { return checkPath(c.CA) }},
	{"token-file", "the path of a file", func(c *Cluster) *string { return &c.TokenFile }, checkTokenFile},
	{"check", `"` + ByKeys + `" or "` + ByReview + `"`, func(c *Cluster) *string { return &c.Check }, checkCheck},
}

// allowForms are the names of what is in an allow, and what their values look like.
var allowForms = [][2]string{
	{"namespace", `a namespace's name`}, {"service-account", `a ServiceAccount's name, or "` + Every + `" for all of the namespace`},
	{"audiences", `a list such as ["https://api.anthropic.com"]`}, {"alg", `"ES256", "RS256" or "EdDSA"`},
	{"jti", "true or false"},
}

const allowName = "allow"

func clusterNames() (names []string) {
	for _, s := range clusterSettings {
		names = append(names, s.name)
	}
	return append(names, allowName)
}

func allowNames() (names []string) {
	for _, f := range allowForms {
		names = append(names, f[0])
	}
	return names
}

var (
	dnsLabel = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	dnsName  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)
	audience = regexp.MustCompile(`^[!#-\[\]-~]{1,512}$`) // see tokens.CheckAudience
)

// ourAudiences begin like this: a token for a gateway is made for its sandboxes alone.
const ourAudiences = "openshell-gateway:"

func checkHTTPS(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || len(s) > 512 {
		return fmt.Errorf("%.80q is no https URL without a user, a query and a fragment", s)
	}
	return nil
}

func checkAudience(s string) error {
	switch {
	case s == "":
		return errors.New("there is none, and the gateway has no issuer whose URL could be it")
	case !audience.MatchString(s):
		return fmt.Errorf("%.80q can't be an audience: it has spaces, quotes or backslashes, or is too long", s)
	case strings.HasPrefix(s, ourAudiences):
		return fmt.Errorf("%.80q is a gateway's own, for its sandboxes alone", s)
	}
	return nil
}

func checkPath(s string) error {
	if s != "" && !filepath.IsAbs(s) {
		return fmt.Errorf("%.80q is no absolute path", s)
	}
	return nil
}

func checkTokenFile(c *Cluster) error {
	if c.Check == ByReview && c.TokenFile == "" {
		return errors.New("there is none: the API server reviews tokens only for who has a credential")
	}
	return checkPath(c.TokenFile)
}

func checkCheck(c *Cluster) error {
	if c.Check != ByKeys && c.Check != ByReview {
		return fmt.Errorf("%.80q is neither %s nor %s", c.Check, ByKeys, ByReview)
	}
	return nil
}

// check returns the name of what is wrong, and why.
func (a Allow) check() (name string, err error) {
	switch {
	case !dnsLabel.MatchString(a.Namespace):
		return "namespace", fmt.Errorf("%.80q is no name of a namespace", a.Namespace)
	case a.ServiceAccount != Every && (!dnsName.MatchString(a.ServiceAccount) || len(a.ServiceAccount) > 253):
		return "service-account", fmt.Errorf("%.80q is no name of a ServiceAccount", a.ServiceAccount)
	case len(a.Audiences) == 0:
		return "audiences", errors.New("there are none")
	case !slices.Contains([]string{"", "ES256", "RS256", "EdDSA"}, a.Algorithm):
		return "alg", fmt.Errorf("tokens can't be signed with %.80q", a.Algorithm)
	}
	for _, one := range a.Audiences {
		if one == "" {
			return "audiences", errors.New("one is empty")
		}
		if err := checkAudience(one); err != nil {
			return "audiences", err
		}
	}
	return "", nil
}

const clustersName = "clusters"

// clusterKey is the name of a cluster's table.
func clusterKey(name string) string { return clustersName + "." + name }

// namesWithin are the names that there are where a key is; nil outside of a cluster's table.
func namesWithin(key []string) []string {
	switch {
	case len(key) < 3 || key[0] != clustersName:
		return nil
	case len(key) > 3 && key[2] == allowName:
		return allowNames()
	}
	return clusterNames()
}

// formWithin is what the value looks like that a key in the clusters' table has.
func formWithin(key []string) string {
	last := key[len(key)-1]
	for _, f := range allowForms {
		if len(key) > 3 && f[0] == last {
			return f[1]
		}
	}
	for _, s := range clusterSettings {
		if len(key) == 3 && s.name == last {
			return s.form
		}
	}
	if len(key) > 2 {
		return "a table: [[" + strings.Join(key[:2], ".") + "." + allowName + "]]"
	}
	return "a table: [" + clustersName + ".NAME]"
}

func allowKey(name string, i int) string {
	return fmt.Sprintf("%s.%s[%d]", clusterKey(name), allowName, i+1)
}

// settleClusters completes the clusters and returns what is wrong with them.
func (c *Config) settleClusters() (wrong []Problem) {
	problem := func(key, form string, err error) {
		wrong = append(wrong, Problem{Where: c.near(key), Name: key, Message: fmt.Sprintf("%s: %v", key, err), Hint: "it is " + form})
	}
	pairs := map[[2]string]string{}
	for _, name := range slices.Sorted(maps.Keys(c.Clusters)) {
		one := c.Clusters[name]
		for _, d := range []struct {
			to *string
			by string
		}{{&one.Audience, c.Issuer}, {&one.Server, one.Issuer}, {&one.Check, ByKeys}} {
			if *d.to == "" {
				*d.to = d.by
			}
		}
		c.Clusters[name] = one
		if !dnsLabel.MatchString(name) {
			problem(clusterKey(name), "at most 63 lower case letters, digits and dashes", errors.New("it can't be a cluster's name"))
		}
		for _, s := range clusterSettings {
			if err := s.check(&one); err != nil {
				problem(clusterKey(name)+"."+s.name, s.form, err)
			}
		}
		if one.Issuer == c.Issuer {
			problem(clusterKey(name)+".issuer", clusterSettings[0].form, errors.New("it is the gateway's own"))
		}
		pair := [2]string{one.Issuer, one.Audience}
		if other, twice := pairs[pair]; twice {
			problem(clusterKey(name)+".audience", "another one than that of "+other+", since both have the same issuer",
				errors.New("nothing tells whose of two clusters a token is"))
		}
		pairs[pair] = name
		for i, a := range one.Allow {
			if field, err := a.check(); err != nil {
				problem(allowKey(name, i)+"."+field, allowForms[slices.Index(allowNames(), field)][1], err)
			}
		}
	}
	return wrong
}

// clusterSettings are a configuration's clusters as they are shown.
func (c *Config) clusterSettings() (list []Setting) {
	for _, name := range slices.Sorted(maps.Keys(c.Clusters)) {
		one := c.Clusters[name]
		for _, s := range clusterSettings {
			key := clusterKey(name) + "." + s.name
			list = append(list, Setting{Name: key, Value: *s.value(&one), Origin: c.origin(key)})
		}
		for i, a := range one.Allow {
			value := a.Namespace + "/" + a.ServiceAccount + ": " + strings.Join(a.Audiences, ", ")
			if a.Algorithm != "" {
				value += " (" + a.Algorithm + ")"
			}
			if a.NoID() {
				value += " (no jti)"
			}
			list = append(list, Setting{Name: allowKey(name, i), Value: value, Origin: c.near(allowKey(name, i))})
		}
	}
	return list
}

func (v Values) clusterWarnings() (lines []string) {
	if len(v.Clusters) == 0 {
		return nil
	}
	if v.Listen == "" {
		lines = append(lines, "clusters have no effect: there is no listen")
	}
	if v.Issuer == "" {
		lines = append(lines, "the pods of clusters get tokens that nobody else can verify: there is no issuer")
	}
	for _, name := range slices.Sorted(maps.Keys(v.Clusters)) {
		if len(v.Clusters[name].Allow) == 0 {
			lines = append(lines, clusterKey(name)+" allows nothing: no pod of it gets a token")
		}
	}
	return lines
}
