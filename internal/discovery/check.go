package discovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"openshell-vm/internal/text"
)

const (
	maxDocument  = 1 << 20 // bytes
	fetchTimeout = 15 * time.Second
	maxRedirects = 10 // as many as Go's and most verifiers' clients follow
)

// Level says how bad a Finding is.
type Level string

// The levels.
const (
	Good  Level = "ok"
	Note  Level = "note"  // some verifiers may mind
	Wrong Level = "wrong" // tokens are refused, or will be
)

// Finding is one thing that Check has found, in one line.
type Finding struct {
	Level Level  `json:"level"`
	Line  string `json:"line"`
}

// Wanted is what is signed, to compare with.
type Wanted struct {
	Issuer string
	Documents
	// Roles says by key id what a key of the set does, such as "signs now".
	Roles map[string]string
	// PublishFor is how long a key is public before it signs.
	PublishFor time.Duration
}

// Check fetches an issuer's documents as verifiers do and compares them with what is signed.
// It follows redirects, heeds the proxies of the environment and trusts what the client trusts;
// a nil client is one with the system's roots. What the world says is bounded, and is cleaned
// before it is in a line.
func Check(ctx context.Context, client *http.Client, want Wanted) []Finding {
	c := &check{want: want, client: checking(client)}
	place, ok := c.configuration(ctx)
	if !ok {
		return c.findings
	}
	c.keys(ctx, place)
	return c.findings
}

// Failed reports whether one of the findings is Wrong.
func Failed(findings []Finding) bool {
	return slices.ContainsFunc(findings, func(f Finding) bool { return f.Level == Wrong })
}

type check struct {
	want     Wanted
	client   *http.Client
	findings []Finding
}

// checking bounds a copy of a client.
func checking(client *http.Client) *http.Client {
	own := &http.Client{}
	if client != nil {
		*own = *client
	}
	own.Timeout, own.Jar = fetchTimeout, nil
	own.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		switch {
		case len(via) > maxRedirects:
			return fmt.Errorf("more than %d redirects", maxRedirects)
		case r.URL.Scheme != "https" && via[0].URL.Scheme == "https":
			return errors.New("it redirects to plain HTTP")
		}
		return nil
	}
	return own
}

func (c *check) say(level Level, format string, args ...any) {
	c.findings = append(c.findings, Finding{level, text.Line(fmt.Sprintf(format, args...))})
}

// configuration checks the discovery document and returns where it says that the keys are.
func (c *check) configuration(ctx context.Context) (place string, ok bool) {
	place = c.want.Issuer + ConfigurationPath
	body, ok := c.fetch(ctx, place, ConfigurationType)
	if !ok {
		return "", false
	}
	var seen Configuration
	if err := json.Unmarshal(body, &seen); err != nil {
		c.say(Wrong, "%s is no discovery document: %v", place, err)
		return "", false
	}
	if seen.Issuer != c.want.Issuer {
		c.say(Wrong, "%s says that the issuer is %q, and tokens say %q: verifiers compare the very text", place, seen.Issuer, c.want.Issuer)
	} else {
		c.say(Good, "%s names the issuer", place)
	}
	var wanted Configuration
	_ = json.Unmarshal(c.want.Configuration, &wanted) // it is ours
	for _, algorithm := range wanted.Algorithms {
		if !slices.Contains(seen.Algorithms, algorithm) {
			c.say(Wrong, "%s does not list the algorithm %s, with which tokens are signed: it is stale", place, algorithm)
		}
	}
	u, err := url.Parse(seen.KeysURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !Local(seen.KeysURL)) {
		c.say(Wrong, "%s says that the keys are at %q, which is no https URL", place, seen.KeysURL)
		return "", false
	}
	return seen.KeysURL, true
}

// keys checks the key set.
func (c *check) keys(ctx context.Context, place string) {
	body, ok := c.fetch(ctx, place, KeysType)
	if !ok {
		return
	}
	seen, err := parseKeys(body)
	if err != nil {
		c.say(Wrong, "%s is %v", place, err)
		return
	}
	wanted, _ := parseKeys(c.want.Keys) // it is ours
	for _, k := range wanted.Keys {
		c.key(place, k, seen)
	}
	for _, k := range seen.Keys {
		if k.Private != "" {
			c.say(Wrong, "%s has a private key in it: %s", place, k.ID)
		}
		if !slices.ContainsFunc(wanted.Keys, func(w key) bool { return w.ID == k.ID }) {
			c.say(Note, "%s has the key %s, which verifies nothing any more: it is stale", place, k.ID)
		}
	}
}

// key checks one key that verifies here.
func (c *check) key(place string, want key, seen keySet) {
	role := c.want.Roles[want.ID]
	name := strings.TrimSpace(want.Algorithm + " key " + want.ID)
	if role != "" {
		name += ", which " + role + ","
	}
	i := slices.IndexFunc(seen.Keys, func(k key) bool { return k.ID == want.ID })
	switch {
	case i < 0:
		c.say(Wrong, "%s lacks the %s: its tokens are refused", place, strings.TrimSuffix(name, ","))
	case seen.Keys[i].text() != want.text() && seen.Keys[i].Private == "":
		c.say(Wrong, "%s has another key by the name of the %s: its tokens are refused", place, strings.TrimSuffix(name, ","))
	default:
		c.say(Good, "%s has the %s", place, strings.TrimSuffix(name, ","))
	}
}

// fetch gets one document. It returns false if there is none to look at.
func (c *check) fetch(ctx context.Context, place, wantType string) ([]byte, bool) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, place, nil)
	if err != nil {
		c.say(Wrong, "%s can't be asked for: %v", place, err)
		return nil, false
	}
	request.Header.Set("Accept", "application/json, "+KeysType)
	response, err := c.client.Do(request)
	if err != nil {
		c.say(Wrong, "%s can't be reached: %v", place, unwrapped(err))
		return nil, false
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxDocument+1))
	switch {
	case err != nil:
		c.say(Wrong, "%s can't be read: %v", place, unwrapped(err))
		return nil, false
	case response.StatusCode != http.StatusOK:
		c.say(Wrong, "%s answers %s", place, response.Status)
		return nil, false
	case len(body) > maxDocument:
		c.say(Wrong, "%s has more than %d bytes", place, maxDocument)
		return nil, false
	}
	if final := response.Request.URL.String(); final != place {
		c.say(Note, "%s redirects to %s: not every verifier follows", place, final)
	}
	c.contentType(place, response.Header.Get("Content-Type"), wantType)
	c.caching(place, response.Header)
	return body, true
}

// unwrapped is the error without the URL, which the line has already.
func unwrapped(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

func (c *check) contentType(place, got, want string) {
	kind, _, _ := mime.ParseMediaType(got)
	if kind != want && kind != "application/json" {
		c.say(Wrong, "%s has the content type %q: serve it as %s", place, got, want)
	}
}

// caching checks for how long verifiers keep a document. One that keeps the keys for longer
// than they are public before they sign does not know a new one in time.
func (c *check) caching(place string, header http.Header) {
	age, ok := maxAge(header.Get("Cache-Control"))
	switch {
	case !ok && c.want.MaxAge > 0:
		c.say(Note, "%s does not say how long it may be kept: send Cache-Control: %s", place, c.want.CacheControl())
	case !ok || age == 0:
	case age > c.want.PublishFor:
		c.say(Wrong, "%s may be kept for %v, and a new key signs %v after it is public: send Cache-Control: %s",
			place, age, c.want.PublishFor, c.want.CacheControl())
	}
}

// maxAge returns how long a document may be kept; false if nothing says so.
func maxAge(control string) (time.Duration, bool) {
	for directive := range strings.SplitSeq(strings.ToLower(control), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch name {
		case "no-cache", "no-store":
			return 0, true
		case "max-age":
			seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
			return time.Duration(seconds) * time.Second, err == nil
		}
	}
	return 0, false
}
