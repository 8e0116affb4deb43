package provider

import (
	"bufio"
	"bytes"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync"
	"time"
)

// cached returns a client that keeps each answer for as long as its Cache-Control says. go-oidc
// fetches the keys anew for each key that it does not know; with this it gets the old ones, as
// from a provider that keeps them. So a key that signs before it could be known is refused.
func cached(client *http.Client) *http.Client {
	kept := *client
	kept.Transport = &cache{next: client.Transport, answers: map[string]answer{}}
	return &kept
}

type cache struct {
	next http.RoundTripper

	mu      sync.Mutex
	answers map[string]answer // by URL
}

type answer struct {
	bytes []byte
	until time.Time
}

// RoundTrip answers from the cache as long as it may.
func (c *cache) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a := c.answers[r.URL.String()]; time.Now().Before(a.until) {
		return http.ReadResponse(bufio.NewReader(bytes.NewReader(a.bytes)), r)
	}
	res, err := c.next.RoundTrip(r)
	if err != nil || res.StatusCode != http.StatusOK {
		return res, err
	}
	dump, err := httputil.DumpResponse(res, true)
	if err == nil {
		c.answers[r.URL.String()] = answer{dump, time.Now().Add(maxAge(res.Header))}
	}
	return res, err
}

// maxAge returns how long an answer may be kept.
func maxAge(h http.Header) time.Duration {
	for _, d := range strings.Split(h.Get("Cache-Control"), ",") {
		if value, ok := strings.CutPrefix(strings.TrimSpace(d), "max-age="); ok {
			seconds, _ := strconv.Atoi(value)
			return time.Duration(seconds) * time.Second
		}
	}
	return 0
}
