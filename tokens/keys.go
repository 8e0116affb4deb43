package tokens

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"sync"
	"time"
)

// Keys are a gateway's signing keys: at each time one for each algorithm that was wanted so
// far. The others are published and sign later, or only verify, each until the last token
// that it signed has expired. Keys are safe for concurrent use. Only one process at a time
// may use a directory. Keys hold no descriptor.
type Keys struct {
	dir string

	// changing is held during a change, also while the disk is written. Nobody who mints or
	// verifies waits for it.
	changing sync.Mutex

	mu      sync.RWMutex // taken under changing
	ring    ring         // never changed, only replaced
	untidy  error        // the last sweep's error
	changed func(before, after []KeyInfo)
}

// KeyInfo is what is public about a key. It is also the key's entry in the state file.
type KeyInfo struct {
	ID        string    `json:"kid"`
	Algorithm Algorithm `json:"alg"`
	CreatedAt time.Time `json:"createdAt"`
	// SignsFrom is when a key that is published ahead begins to sign; zero once it has begun,
	// and for a key that signed at once.
	SignsFrom time.Time `json:"signsFrom,omitzero"`
	// PlannedFrom is when it was to begin; zero unless Hold has changed that.
	PlannedFrom time.Time `json:"plannedFrom,omitzero"`
	// RetireAt is when the last token that the key signed has expired. From then on the key
	// verifies nothing. Zero for the signing key, unless its successor is published already.
	RetireAt time.Time `json:"retireAt,omitzero"`
	// State is what the key does at the time that List was asked about.
	State KeyState `json:"-"`
}

// KeyState is what a key does.
type KeyState string

// The states of a key, in the order of its life.
const (
	Pending   KeyState = "pending"   // others can know it; it signs later
	Signing   KeyState = "signing"   // it signs what is minted now, and verifies
	Verifying KeyState = "verifying" // it signs no more
)

// maxKeys is how many keys of one kind are kept. AWS refuses a set with more than 100.
const maxKeys = 100

// OpenKeys loads the keys in dir. If there are none, it makes dir (its parent must exist)
// and a first key for EdDSA. It refuses a directory or a key that another user owns, that
// has a mode wider than 0700 or 0600, or that is a symlink; the error is an *Error that
// wraps ErrPermissions. It cleans up what a killed process left.
func OpenKeys(dir string) (*Keys, error) {
	r, err := load(dir)
	if err != nil {
		return nil, err
	}
	k := &Keys{dir: dir, ring: r, untidy: sweep(dir, r)}
	if err := k.Want(time.Now(), EdDSA); err != nil {
		return nil, err
	}
	return k, nil
}

// Want makes a key for each of the algorithms that has none; it signs at once. Mint does
// the same. Who calls Want before has the key in JWKS before it signs.
func (k *Keys) Want(now time.Time, wanted ...Algorithm) error {
	for _, a := range wanted {
		if k.now().signing(a, now) >= 0 {
			continue
		}
		if err := k.makeFirst(a, now); err != nil {
			return err
		}
	}
	return nil
}

func (k *Keys) makeFirst(a Algorithm, now time.Time) error {
	k.changing.Lock()
	defer k.changing.Unlock()
	next := k.now()
	if next.signing(a, now) >= 0 {
		return nil // made meanwhile
	}
	e, err := newEntry(a, now)
	if err != nil {
		return err
	}
	return k.commit(append(next.clone(), e))
}

// Rotate makes a new key for each algorithm that has one and returns them, that for EdDSA
// first. All are in JWKS at once. They sign from now + publishFor on; with 0, tokens minted
// after Rotate has returned are signed with them.
//
// longest is the longest lifetime of any token that the old keys may have signed before
// this process began; tokens of this process are known. An old key verifies until its last
// token has expired; with publishFor that is settled only by Begin, and it is MaxTTL until
// then. Keys that are published already and would sign after the new ones are given up.
// Rotate deletes keys whose time is over.
func (k *Keys) Rotate(now time.Time, longest, publishFor time.Duration) ([]KeyInfo, error) {
	k.changing.Lock()
	defer k.changing.Unlock()
	next := k.now().prune(now)
	var made []KeyInfo
	for _, a := range next.algorithms() {
		e, err := newEntry(a, now)
		if err != nil {
			return nil, err
		}
		if publishFor > 0 {
			e.SignsFrom = now.Add(publishFor)
		}
		if next = next.succeed(e, now, longest); next.count(a) > maxKeys {
			return nil, fmt.Errorf("%w: %d for %s", ErrManyKeys, maxKeys, a)
		}
		made = append(made, e.KeyInfo)
	}
	if err := k.commit(next); err != nil {
		return nil, err
	}
	return made, nil
}

// Begin settles the keys that were published ahead and whose time has come, and returns
// them: each signs for good, and its predecessor verifies until its last token has expired.
// longest is what Rotate says. A key signs from its time on, also if Begin is called late or
// fails; then its predecessor verifies for longer.
func (k *Keys) Begin(now time.Time, longest time.Duration) (begun []KeyInfo, err error) {
	k.changing.Lock()
	defer k.changing.Unlock()
	next := k.now().clone()
	for i := range next {
		e := &next[i]
		if e.SignsFrom.IsZero() || e.pending(now) {
			continue
		}
		if before := next.before(i); before >= 0 {
			next[before].RetireAt = next[before].lastExpiry(e.SignsFrom.Add(longest))
		}
		e.SignsFrom, e.PlannedFrom = time.Time{}, time.Time{}
		begun = append(begun, e.KeyInfo)
	}
	if len(begun) == 0 {
		return nil, nil
	}
	if err := k.commit(next); err != nil {
		return nil, err
	}
	return begun, nil
}

// Planned returns when a key that was published ahead was to begin when it was made.
func (k KeyInfo) Planned() time.Time {
	if k.PlannedFrom.IsZero() {
		return k.SignsFrom
	}
	return k.PlannedFrom
}

// Hold changes when keys begin that were published ahead, and that Begin has not settled, to
// what may returns for each; but never to what is past, or to before the key that it succeeds.
// It returns the keys that it has changed. Tokens that such a key has signed already stay good.
func (k *Keys) Hold(now time.Time, may func(KeyInfo) time.Time) (moved []KeyInfo, err error) {
	k.changing.Lock()
	defer k.changing.Unlock()
	next := k.now().clone()
	for i := range next {
		e := &next[i]
		if e.SignsFrom.IsZero() {
			continue
		}
		at, before := may(e.KeyInfo).Round(0), next.before(i)
		if before >= 0 && at.Before(next[before].SignsFrom) {
			at = next[before].SignsFrom
		}
		if at.Equal(e.SignsFrom) || at.Before(now) && e.SignsFrom.Before(now) {
			continue
		}
		if at.Before(now) {
			at = now.Round(0)
		}
		e.PlannedFrom, e.SignsFrom = e.Planned(), at
		if before >= 0 {
			next[before].RetireAt = at.Add(MaxTTL)
		}
		moved = append(moved, e.KeyInfo)
	}
	if len(moved) == 0 {
		return nil, nil
	}
	if err := k.commit(next); err != nil {
		return nil, err
	}
	return moved, nil
}

// NextBegin returns when Begin has something to do, which may be past; zero for never.
func (k *Keys) NextBegin() (first time.Time) {
	for _, e := range k.now() {
		if at := e.SignsFrom; !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

// Retire deletes a key that does not sign now. From now on every token that it signed is
// refused. If it was to sign later, the key before it goes on signing.
func (k *Keys) Retire(kid string, now time.Time) error {
	k.changing.Lock()
	defer k.changing.Unlock()
	r := k.now()
	i := r.index(kid)
	if i < 0 {
		return ErrNoSuchKey
	}
	if r.signing(r[i].Algorithm, now) == i {
		return ErrSigningKey
	}
	return k.commit(r.without(i))
}

// Prune deletes the keys whose time is over.
func (k *Keys) Prune(now time.Time) error {
	k.changing.Lock()
	defer k.changing.Unlock()
	r := k.now()
	next := r.prune(now)
	if len(next) == len(r) {
		return nil
	}
	return k.commit(next)
}

// List returns all keys, with what each does at the time now: first those that sign, that
// for EdDSA before the others; then those that will, the next first; then those that only
// verify, the newest first.
func (k *Keys) List(now time.Time) []KeyInfo { return k.now().infos(now) }

// Algorithms returns the algorithms that have a key.
func (k *Keys) Algorithms() []Algorithm { return k.now().algorithms() }

// Untidy returns an error that names foreign files in the key directory, which are left
// alone, and files of ours that could not be deleted; nil if there is neither.
func (k *Keys) Untidy() error {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.untidy
}

// SigningKeyID returns the kid of the key that signs tokens for the gateway now.
func (k *Keys) SigningKeyID() string {
	r := k.now()
	if i := r.signing(EdDSA, time.Now()); i >= 0 {
		return r[i].ID
	}
	return ""
}

// Signs reports whether the key with this id is one of those that sign at the time now.
func (k *Keys) Signs(kid string, now time.Time) bool {
	r := k.now()
	i := r.index(kid)
	return i >= 0 && r.signing(r[i].Algorithm, now) == i
}

// Know reports whether raw names a key that verifies at the time now. It does not verify
// raw.
func (k *Keys) Know(raw string, now time.Time) bool {
	if len(raw) > MaxSize {
		return false
	}
	form, err := parse(raw)
	return err == nil && k.Verifies(form.kid, now)
}

// Verifies reports whether the key with this id verifies at the time now.
func (k *Keys) Verifies(kid string, now time.Time) bool {
	_, err := k.verifier(kid, now)
	return err == nil
}

// signer returns the key that signs a token at the time now, which lives until expires. It
// makes a first key.
func (k *Keys) signer(a Algorithm, now, expires time.Time) (entry, error) {
	if err := k.Want(now, a); err != nil {
		return entry{}, err
	}
	r := k.now()
	e := r[r.signing(a, now)] // a ring that has a key for an algorithm never loses the last one
	e.signs(expires)
	return e, nil
}

func (k *Keys) verifier(kid string, now time.Time) (entry, error) {
	e, ok := k.now().find(kid)
	if !ok || e.over(now) {
		return entry{}, ErrUnknownKey
	}
	return e, nil
}

// OnChange calls f after each change that is on disk, one after the other, with all keys as List
// returns them. f must not change the keys. It is to be set before they are used.
func (k *Keys) OnChange(f func(before, after []KeyInfo)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.changed = f
}

// now returns the ring of the moment. It must not be changed.
func (k *Keys) now() ring {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.ring
}

// commit replaces the ring by next, on disk first. The caller holds k.changing.
func (k *Keys) commit(next ring) error {
	if err := save(k.dir, next); err != nil {
		return err
	}
	k.mu.Lock()
	before, changed := k.ring, k.changed
	k.ring = next
	k.mu.Unlock()
	untidy := sweep(k.dir, next)
	k.mu.Lock()
	k.untidy = untidy
	k.mu.Unlock()
	if changed != nil {
		now := time.Now()
		changed(before.infos(now), next.infos(now))
	}
	return nil
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
