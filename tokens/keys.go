package tokens

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Keys are a gateway's signing keys. One of them signs. The others only verify, each until
// the last token that it signed has expired. Keys are safe for concurrent use. Only one
// process at a time may use a directory. Keys hold no descriptor.
type Keys struct {
	dir string

	mu     sync.RWMutex
	ring   ring
	untidy error // the last sweep's error
}

// ring is the keys in memory, each with its entry in the state file.
type ring struct {
	signing string // kid
	keys    map[string]entry
}

type entry struct {
	KeyInfo
	key ed25519.PrivateKey
}

// KeyInfo is what is public about a key. It is also the key's entry in the state file.
type KeyInfo struct {
	ID        string    `json:"kid"`
	CreatedAt time.Time `json:"createdAt"`
	// RetireAt is when the last token that the key signed has expired. From then on the key
	// verifies nothing. Zero for the signing key.
	RetireAt time.Time `json:"retireAt,omitzero"`
}

// OpenKeys loads the keys in dir. If there are none, it makes dir (its parent must exist)
// and a first key. It refuses a directory or a key that another user owns, that has a mode
// wider than 0700 or 0600, or that is a symlink; the error is an *Error that wraps
// ErrPermissions. It cleans up what a killed process left.
func OpenKeys(dir string) (*Keys, error) {
	r, err := load(dir)
	if err != nil {
		return nil, err
	}
	k := &Keys{dir: dir, ring: r, untidy: sweep(dir, r)}
	if r.signing != "" {
		return k, nil
	}
	if _, err := k.Rotate(time.Now(), 0); err != nil {
		return nil, err
	}
	return k, nil
}

// Rotate makes a new signing key and returns its kid. Tokens minted after Rotate has
// returned are signed with the new key. The old key verifies for longest from now; that has
// to be the longest lifetime of any token that it may have signed. Rotate deletes keys
// whose time is over.
func (k *Keys) Rotate(now time.Time, longest time.Duration) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return "", err
	}
	kid, err := keyID(key.Public())
	if err != nil {
		return "", err
	}
	next := ring{signing: kid, keys: map[string]entry{}}
	for id, e := range k.ring.keys {
		if id == k.ring.signing {
			e.RetireAt = now.Add(longest)
		}
		next.keys[id] = e
	}
	next.keys[kid] = entry{KeyInfo{ID: kid, CreatedAt: now}, key}
	next.prune(now)
	if err := k.commit(next); err != nil {
		return "", err
	}
	return kid, nil
}

// Retire deletes a key that no longer signs. From now on every token that it signed is
// refused.
func (k *Keys) Retire(kid string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.ring.keys[kid]; !ok {
		return ErrNoSuchKey
	}
	if kid == k.ring.signing {
		return ErrSigningKey
	}
	next := k.ring.clone()
	delete(next.keys, kid)
	return k.commit(next)
}

// Prune deletes the keys whose time is over.
func (k *Keys) Prune(now time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	next := k.ring.clone()
	if !next.prune(now) {
		return nil
	}
	return k.commit(next)
}

// List returns all keys: the signing one first, then the others, newest first.
func (k *Keys) List() []KeyInfo {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.ring.infos()
}

// Untidy returns an error that names foreign files in the key directory, which are left
// alone, and files of ours that could not be deleted; nil if there is neither.
func (k *Keys) Untidy() error {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.untidy
}

// SigningKeyID returns the kid of the key that signs.
func (k *Keys) SigningKeyID() string {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.ring.signing
}

// JWKS returns the JSON Web Key Set (RFC 7517, RFC 8037) of the keys that verify at the
// time now, the signing one first. It has only public keys.
func (k *Keys) JWKS(now time.Time) ([]byte, error) {
	type jwk struct {
		Type      string `json:"kty"`
		Curve     string `json:"crv"`
		X         string `json:"x"`
		KeyID     string `json:"kid"`
		Use       string `json:"use"`
		Algorithm string `json:"alg"`
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	set := struct {
		Keys []jwk `json:"keys"`
	}{}
	for _, info := range k.ring.infos() {
		e := k.ring.keys[info.ID]
		if e.over(now) {
			continue
		}
		x := base64.RawURLEncoding.EncodeToString(e.public())
		set.Keys = append(set.Keys, jwk{"OKP", "Ed25519", x, info.ID, "sig", "EdDSA"})
	}
	return json.Marshal(set)
}

// Know reports whether raw names a key that verifies at the time now. It does not verify
// raw.
func (k *Keys) Know(raw string, now time.Time) bool {
	if len(raw) > MaxSize {
		return false
	}
	kid, err := checkForm(raw)
	if err != nil {
		return false
	}
	_, err = k.verifier(kid, now)
	return err == nil
}

// Verifies reports whether the key with this id verifies at the time now.
func (k *Keys) Verifies(kid string, now time.Time) bool {
	_, err := k.verifier(kid, now)
	return err == nil
}

func (k *Keys) signer() (string, ed25519.PrivateKey) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.ring.signing, k.ring.keys[k.ring.signing].key
}

func (k *Keys) verifier(kid string, now time.Time) (crypto.PublicKey, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	e, ok := k.ring.keys[kid]
	if !ok || e.over(now) {
		return nil, ErrUnknownKey
	}
	return e.public(), nil
}

// commit replaces the ring by next, on disk first.
func (k *Keys) commit(next ring) error {
	if err := save(k.dir, next); err != nil {
		return err
	}
	k.ring = next
	k.untidy = sweep(k.dir, next)
	return nil
}

func (e entry) public() ed25519.PublicKey { return e.key.Public().(ed25519.PublicKey) }

func (k KeyInfo) over(now time.Time) bool {
	return !k.RetireAt.IsZero() && !now.Before(k.RetireAt)
}

func (r ring) clone() ring {
	c := ring{signing: r.signing, keys: map[string]entry{}}
	for id, e := range r.keys {
		c.keys[id] = e
	}
	return c
}

func (r ring) prune(now time.Time) (changed bool) {
	for id, e := range r.keys {
		if e.over(now) {
			delete(r.keys, id)
			changed = true
		}
	}
	return changed
}

func (r ring) infos() []KeyInfo {
	var list []KeyInfo
	for _, e := range r.keys {
		list = append(list, e.KeyInfo)
	}
	slices.SortFunc(list, func(a, b KeyInfo) int {
		if (a.ID == r.signing) != (b.ID == r.signing) {
			if a.ID == r.signing {
				return -1
			}
			return 1
		}
		return b.CreatedAt.Compare(a.CreatedAt)
	})
	return list
}

// keyID returns the kid of a key; see the package comment.
func keyID(public crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", fmt.Errorf("name a key: %w", err)
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:kidSize]), nil
}
