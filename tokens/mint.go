package tokens

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"
)

// Issuer mints tokens for one gateway. It is safe for concurrent use.
type Issuer struct {
	Keys      *Keys
	GatewayID string
	// URL is the claim iss; "" for openshell-gateway:<gateway id>.
	URL string
	// TrustDomain is where the subjects live, by SPIFFE's rules; "" for openshell.
	TrustDomain string
}

// Request asks for one token. Without an Audience it is for the gateway itself: then
// Algorithm must be EdDSA or "", and what comes after it must be zero.
type Request struct {
	SandboxID  string
	Pod        *Pod          // in place of a sandbox; then only TTL, Now, Audience, Algorithm and NoID may be set
	Generation uint64        // of the share that carries the token, from 1; 0 for none, not for the gateway
	TTL        time.Duration // from 3 s to MaxTTL; CheckTTL says which are of use
	Now        time.Time

	Audience  string    // see CheckAudience
	Algorithm Algorithm // "" for EdDSA, or for an audience ES256

	Identity string            // the name of a subject that outlives the sandbox; "" for the sandbox's own
	NoID     bool              // no jti, for who takes each jti only once
	About    About             // the claim openshell; its ID is set by Mint
	Claims   map[string]string // the user's own, see CheckClaim
}

// Mint signs a new token. Its lifetime begins a second before Now, and its times are whole
// seconds. So it expires one to two seconds before Now + TTL. The first token with an
// algorithm makes the key, which for RS256 takes a good part of a second.
func (i Issuer) Mint(r Request) (Raw, Claims, error) {
	if err := i.check(r); err != nil {
		return "", Claims{}, fmt.Errorf("mint a token: %w", err)
	}
	w := i.wire(r)
	key, err := i.Keys.signer(r.algorithm(), r.Now, time.Unix(w.ExpiresAt, 0))
	if err != nil {
		return "", Claims{}, fmt.Errorf("mint a token: %w", err)
	}
	raw, err := key.mint(w)
	if err != nil {
		return "", Claims{}, fmt.Errorf("mint a token: %w", err)
	}
	return raw, w.claims(key.ID, key.Algorithm), nil
}

func (i Issuer) check(r Request) error {
	plain := r.Algorithm == "" || r.Algorithm == EdDSA
	more := r.Identity != "" || r.NoID || r.About != About{} || len(r.Claims) > 0
	switch {
	case !validID(i.GatewayID) || r.Pod == nil && !validID(r.SandboxID):
		return errors.New("malformed gateway or sandbox id")
	case r.TTL < leastTTL || r.TTL > MaxTTL:
		return fmt.Errorf("a lifetime of %v", r.TTL)
	case r.Pod != nil && (r.SandboxID != "" || r.Generation != 0 || r.Identity != "" || r.About != About{} || len(r.Claims) > 0):
		return errors.New("a token of a pod is not that of a sandbox, too")
	case r.Pod != nil && (r.Audience == "" || strings.HasPrefix(r.Audience, issuerPrefix)):
		return errors.New("a pod gets no token for a gateway")
	case r.Audience == "" && r.Generation == 0:
		return errors.New("no generation")
	case r.Audience == "" && (more || !plain):
		return errors.New("a token for the gateway has no identity, no further claims and no other algorithm")
	case r.Audience == "":
		return CheckTrustDomain(i.trustDomain())
	case r.Audience == i.self():
		return errors.New("the audience is the gateway: it has its own token")
	}
	return errors.Join(CheckTrustDomain(i.trustDomain()), CheckAudience(r.Audience), r.checkClaims(), r.Pod.check())
}

func (r Request) checkClaims() error {
	if r.Identity != "" {
		if err := CheckIdentity(r.Identity); err != nil {
			return err
		}
	}
	for name, value := range r.Claims {
		if err := CheckClaim(name, value); err != nil {
			return err
		}
	}
	return nil
}

func (i Issuer) wire(r Request) *wire {
	issued := r.Now.Add(-skew).Truncate(time.Second)
	w := &wire{
		Issuer: i.issuer(), Audience: i.self(),
		Subject: SandboxSubject(i.trustDomain(), r.SandboxID), SandboxID: r.SandboxID,
		IssuedAt: issued.Unix(), NotBefore: issued.Unix(), ExpiresAt: issued.Add(r.TTL).Unix(),
		Generation: r.Generation,
	}
	if !r.NoID {
		w.TokenID = newTokenID()
	}
	switch {
	case r.Pod != nil:
		pod := *r.Pod
		w.Subject, w.Audience, w.About = pod.Subject(i.trustDomain()), r.Audience, &About{Pod: &pod}
		return w
	case r.Audience == "":
		return w
	}
	about := r.About
	about.ID, about.Pod = r.SandboxID, nil
	w.Audience, w.About, w.own = r.Audience, &about, maps.Clone(r.Claims)
	if r.Identity != "" {
		w.Subject = IdentitySubject(i.trustDomain(), r.Identity)
	}
	return w
}

// mint signs the claims.
func (e entry) mint(w *wire) (Raw, error) {
	claims, err := w.encode()
	if err != nil {
		return "", err
	}
	header := fmt.Appendf(nil, `{"alg":%q,"kid":%q,"typ":"JWT"}`, string(e.Algorithm), e.ID)
	text := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(claims)
	sig, err := e.Algorithm.sign(e.key, text)
	if err != nil {
		return "", err
	}
	raw := text + "." + base64.RawURLEncoding.EncodeToString(sig)
	if len(raw) > MaxSize {
		return "", fmt.Errorf("%w: %d bytes, at most %d: it has too many claims", ErrTooLarge, len(raw), MaxSize)
	}
	return Raw(raw), nil
}

func (r Request) algorithm() Algorithm {
	switch {
	case r.Algorithm != "":
		return r.Algorithm
	case r.Audience != "":
		return ES256
	}
	return EdDSA
}

// self is the gateway's own audience, and its issuer if it has no URL.
func (i Issuer) self() string { return issuerPrefix + i.GatewayID }

func (i Issuer) issuer() string {
	if i.URL != "" {
		return i.URL
	}
	return i.self()
}

// Name is the claim iss of its tokens.
func (i Issuer) Name() string { return i.issuer() }

// Named reports whether a token with these claims, iss and sub, has the issuer's name and lies
// in its trust domain. It verifies nothing.
func (i Issuer) Named(iss, sub string) bool {
	return iss == i.issuer() && strings.HasPrefix(sub, "spiffe://"+i.trustDomain()+"/")
}

func (i Issuer) trustDomain() string {
	if i.TrustDomain != "" {
		return i.TrustDomain
	}
	return defaultTrustDomain
}

func newTokenID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails: it ends the program instead
	return hex.EncodeToString(id[:])
}
