package kubernetes

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"

	"openshell-vm/gateway/oauth"
	"openshell-vm/internal/discovery"
	"openshell-vm/internal/text"
)

const (
	refreshAfter = 5 * time.Minute // age of a key set at which it is fetched anew, while it serves on
	maxAge       = time.Hour       // age at which it serves no more
	maxKeys      = 100
	minRSA       = 2048 // bits
	maxRSA       = 8192 // more would make each signature expensive
)

// Tokens can make a key set be fetched: one fetch for a key id that is not known, a few at once and
// then one each ten seconds.
const (
	fetchEvery = 10 * time.Second
	fetchBurst = 5
)

// key is a public key with the algorithms that it may be used with.
type key struct {
	public     any
	algorithms []string
}

// keySet checks tokens with a cluster's public keys. It is safe for concurrent use.
type keySet struct {
	server *server
	issuer string
	turns  *rate.Limiter

	mu      sync.Mutex
	keys    map[string][]key // by kid
	fetched time.Time        // when the fetch began that brought them; zero for never
	flight  *flight          // the fetch under way; nil for none
	tried   time.Time        // when the last fetch began
	problem error            // of the last fetch
}

// flight is a fetch that any number of exchanges wait for.
type flight struct {
	done chan struct{}
	err  error
}

func newKeySet(s *server, issuer string) *keySet {
	return &keySet{server: s, issuer: issuer, turns: rate.NewLimiter(rate.Every(fetchEvery), fetchBurst)}
}

// vouch checks the signature. A key id that is not known may be that of a new key, so the keys are
// fetched anew.
func (s *keySet) vouch(ctx context.Context, t *token) *oauth.Refusal {
	found, age := s.find(t.header.KeyID)
	if age > maxAge || found == nil {
		if bad := s.await(ctx); bad != nil {
			return bad
		}
		if found, _ = s.find(t.header.KeyID); found == nil {
			return unfit("no key of its cluster has its key id")
		}
	} else if age > refreshAfter {
		s.upkeep()
	}
	for _, k := range found {
		if slices.Contains(k.algorithms, t.header.Algorithm) {
			if jwt.GetSigningMethod(t.header.Algorithm).Verify(t.signed, t.signature, k.public) == nil {
				return nil
			}
			return unfit("its signature is wrong")
		}
	}
	return unfit("its algorithm is not that of its key")
}

// find returns the keys with this id, and how old the key set is.
func (s *keySet) find(kid string) (found []key, age time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if age = s.age(); age > maxAge {
		return nil, age
	}
	return s.keys[kid], age
}

// age is more than maxAge if there are no keys, or the clock was set back. The caller holds s.mu.
func (s *keySet) age() time.Duration {
	age := time.Now().Round(0).Sub(s.fetched) // by the clock on the wall: the other one stops while the host sleeps
	if s.fetched.IsZero() || age < 0 {
		return maxAge + 1
	}
	return age
}

// await has the keys fetched, and waits for it.
func (s *keySet) await(ctx context.Context) *oauth.Refusal {
	leave, bad := s.server.enter()
	if bad != nil {
		return bad
	}
	defer leave()
	s.mu.Lock()
	f := s.flight
	if f == nil {
		if !s.turns.Allow() {
			s.mu.Unlock()
			return refuse(oauth.Unavailable, "the cluster's keys were fetched just now; it is too early to fetch them again")
		}
		f = s.begin()
	}
	s.mu.Unlock()
	select {
	case <-f.done:
	case <-ctx.Done():
		return refuse(oauth.Unavailable, "the cluster's keys can't be fetched now")
	}
	if f.err != nil {
		return outOfReach(f.err, "the cluster's keys can't be fetched now")
	}
	return nil
}

// upkeep has keys that are not new fetched, and does not wait for it. After a failure it does so once
// in a while: anybody can send tokens that name a key which is known.
func (s *keySet) upkeep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	failed := s.problem != nil && time.Since(s.tried) < fetchEvery
	if s.flight == nil && s.age() > refreshAfter && !failed {
		s.begin()
	}
}

// begin starts a fetch. The caller holds s.mu. Nobody who waits can end it.
func (s *keySet) begin() *flight {
	f := &flight{done: make(chan struct{})}
	s.flight, s.tried = f, time.Now()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		now := time.Now().Round(0)
		keys, err := s.fetch(ctx)
		s.server.tell(err)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.problem = err; err == nil {
			s.keys, s.fetched = keys, now
		}
		f.err, s.flight = err, nil
		close(f.done)
	}()
	return f
}

// fetch gets the keys by discovery.
func (s *keySet) fetch(ctx context.Context) (map[string][]key, error) {
	text, err := s.server.get(ctx, s.server.url+discovery.ConfigurationPath)
	if err != nil {
		return nil, err
	}
	var configuration struct {
		Issuer  string `json:"issuer"`
		KeysURL string `json:"jwks_uri"`
	}
	if json.Unmarshal(text, &configuration) != nil {
		return nil, errors.New("the discovery document has not the form of one")
	}
	if configuration.Issuer != s.issuer {
		return nil, fmt.Errorf("the cluster's issuer is %.80q, and not %q as it is configured", configuration.Issuer, s.issuer)
	}
	address, err := s.server.beside(configuration.KeysURL)
	if err != nil {
		return nil, err
	}
	if text, err = s.server.get(ctx, address); err != nil {
		return nil, err
	}
	return parseKeys(text)
}

// parseKeys reads a key set. Keys that are of no use are left out.
func parseKeys(text []byte) (map[string][]key, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(text, &set) != nil {
		return nil, errors.New("the key set has not the form of one")
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("the key set has more than %d keys", maxKeys)
	}
	keys := map[string][]key{}
	for _, raw := range set.Keys {
		var one jose.JSONWebKey
		if one.UnmarshalJSON(raw) != nil || one.KeyID == "" || len(one.KeyID) > maxKeyID || one.Use != "" && one.Use != "sig" {
			continue
		}
		algorithms := algorithmsOf(one.Key)
		if one.Algorithm != "" {
			algorithms = slices.DeleteFunc(algorithms, func(a string) bool { return a != one.Algorithm })
		}
		if len(algorithms) > 0 {
			keys[one.KeyID] = append(keys[one.KeyID], key{one.Key, algorithms})
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("the key set has no key that signs tokens")
	}
	return keys, nil
}

// algorithmsOf returns what a public key may be used with: the key decides, and never the token.
// They are those that Kubernetes signs with, and none with a secret.
func algorithmsOf(public any) []string {
	switch public := public.(type) {
	case *rsa.PublicKey:
		if bits := public.N.BitLen(); bits >= minRSA && bits <= maxRSA {
			return []string{"RS256", "RS384", "RS512"}
		}
	case *ecdsa.PublicKey:
		switch public.Curve {
		case elliptic.P256():
			return []string{"ES256"}
		case elliptic.P384():
			return []string{"ES384"}
		case elliptic.P521():
			return []string{"ES512"}
		}
	}
	return nil
}

// status is one line for people.
func (s *keySet) status(now time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := "its keys: none yet"
	if !s.fetched.IsZero() {
		line = fmt.Sprintf("its keys: %d, fetched %v ago", len(s.keys), now.Sub(s.fetched).Truncate(time.Second))
	}
	if s.problem != nil {
		line += "; " + text.Line(s.problem.Error())
	}
	return line
}
