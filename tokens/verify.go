package tokens

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// DefaultLeeway is the clock difference that verifiers commonly allow. It is never added by
// itself: only Verifier.Leeway counts.
const DefaultLeeway = 5 * time.Second

// Verifier checks tokens of one gateway. It is safe for concurrent use if its functions
// are.
type Verifier struct {
	Keys        *Keys
	GatewayID   string
	URL         string   // as in Issuer
	TrustDomain string   // as in Issuer
	Former      []Former // what the gateway was before

	// AnyAudience accepts a token for whomever. Only who asks about tokens on behalf of others, as
	// introspection does, may set it.
	AnyAudience bool
	Audiences   []string      // one of which the token must be for; nil for the gateway alone
	Leeway      time.Duration // allowed clock difference; 0 means none
	// Exists reports whether the sandbox with this id still exists. It is called for tokens
	// that are good otherwise, but not for one of a pod. It must not be nil.
	Exists func(sandboxID string) bool
	// Revoked reports whether a token was revoked. It is called last. Nil means that none was.
	Revoked func(Claims) bool
}

// Former is an issuer that the gateway was, with its tokens' subjects.
type Former struct {
	URL         string    // as in Issuer
	TrustDomain string    // as in Issuer
	Until       time.Time // when its last token has expired; from then on it is refused
}

// Verify returns the claims of a good token. Its error wraps one of the Err values, says in
// one line what is wrong, and contains nothing of the token.
//
//  1. The token has the form that Mint writes.
//  2. The key that it names is one of ours and still verifies. The key says which algorithm
//     it is for; the token must say the same.
//  3. The signature is that key's. Nothing of the claims is looked at before.
//  4. The claims are complete; issuer, audience, times and subject are right.
//  5. The sandbox exists, and the token was not revoked.
func (v Verifier) Verify(raw string, now time.Time) (Claims, error) {
	if len(raw) > MaxSize {
		return Claims{}, fmt.Errorf("%w: %d bytes, at most %d are read", ErrTooLarge, len(raw), MaxSize)
	}
	form, err := parse(raw) // 1
	if err != nil {
		return Claims{}, err
	}
	key, err := v.Keys.verifier(form.kid, now) // 2
	if err != nil {
		return Claims{}, err
	}
	if key.Algorithm != form.algorithm {
		return Claims{}, ErrAlgorithm
	}
	if !key.Algorithm.verify(key.key.Public(), form.signed, form.signature) { // 3
		return Claims{}, ErrSignature
	}
	w, err := decodeWire(form.payload, form.claims)
	if err != nil {
		return Claims{}, err
	}
	if err := v.check(w, now); err != nil { // 4
		return Claims{}, err
	}
	claims := w.claims(key.ID, key.Algorithm)
	if w.pod() == nil && !v.Exists(w.SandboxID) { // 5
		return Claims{}, ErrNoSandbox
	}
	if v.Revoked != nil && v.Revoked(claims) {
		return Claims{}, ErrRevoked
	}
	return claims, nil
}

// check checks the claims. If several are wrong, the first case is the reason.
func (v Verifier) check(w *wire, now time.Time) error {
	issuer, known := v.issuer(w, now)
	switch {
	case w.incomplete(v.self().self()):
		return ErrMissingClaim
	case !w.possible():
		return ErrMalformed
	case !known:
		return ErrIssuer
	case !v.hears(w.Audience):
		return ErrAudience
	case now.Add(v.Leeway).Before(time.Unix(max(w.IssuedAt, w.NotBefore), 0)):
		return ErrNotYetValid
	case !now.Add(-v.Leeway).Before(time.Unix(w.ExpiresAt, 0)):
		ago := now.Sub(time.Unix(w.ExpiresAt, 0)).Truncate(time.Second)
		return fmt.Errorf("%w, %v ago", ErrExpired, ago)
	case w.ExpiresAt-w.IssuedAt > int64(MaxTTL/time.Second): // of an older gateway, which had no limit
		return ErrLifetime
	case !w.subjectFits(issuer, v.self().self()):
		return ErrSubject
	}
	return nil
}

// self is the issuer whose tokens are minted now.
func (v Verifier) self() Issuer {
	return Issuer{GatewayID: v.GatewayID, URL: v.URL, TrustDomain: v.TrustDomain}
}

// issuer returns which of the gateway's issuers, present or former, minted the token. If
// several have the same name, it is that in whose trust domain the subject lies.
func (v Verifier) issuer(w *wire, now time.Time) (found Issuer, known bool) {
	candidates := []Issuer{v.self()}
	for _, f := range v.Former {
		if now.Before(f.Until) {
			candidates = append(candidates, Issuer{GatewayID: v.GatewayID, URL: f.URL, TrustDomain: f.TrustDomain})
		}
	}
	for _, c := range candidates {
		if c.issuer() != w.Issuer {
			continue
		}
		if !known {
			found, known = c, true
		}
		if strings.HasPrefix(w.Subject, "spiffe://"+c.trustDomain()+"/") {
			return c, true
		}
	}
	return found, known
}

func (v Verifier) hears(audience string) bool {
	switch {
	case v.AnyAudience:
		return true
	case v.Audiences == nil:
		return audience == v.self().self()
	}
	return slices.Contains(v.Audiences, audience)
}

// incomplete reports whether the token lacks a claim that each has. One for the gateway
// itself has jti and gen, too; others may lack them.
func (w *wire) incomplete(gateway string) bool {
	own := w.Audience == gateway && (w.TokenID == "" || w.Generation == 0)
	return own || w.Issuer == "" || w.Audience == "" || w.Subject == "" || w.SandboxID == "" && w.pod() == nil ||
		w.IssuedAt == 0 || w.NotBefore == 0 || w.ExpiresAt == 0
}

// subjectFits reports whether the subject is the sandbox's or the pod's, or one that Mint may have
// given it: a token for the gateway itself has no identity.
func (w *wire) subjectFits(i Issuer, gateway string) bool {
	if pod := w.pod(); pod != nil {
		return w.SandboxID == "" && w.Generation == 0 && *w.About == About{Pod: pod} && w.own == nil &&
			!strings.HasPrefix(w.Audience, issuerPrefix) && pod.check() == nil && w.Subject == pod.Subject(i.trustDomain())
	}
	if w.About != nil && w.About.ID != w.SandboxID {
		return false
	}
	if w.Subject == SandboxSubject(i.trustDomain(), w.SandboxID) {
		return true
	}
	name, identity := strings.CutPrefix(w.Subject, IdentitySubject(i.trustDomain(), ""))
	return identity && validID(name) && w.Audience != gateway
}

// possible reports whether the times are none that overflow in some arithmetic; Mint makes
// none of those. The limit is in the year 36,812.
func (w *wire) possible() bool {
	return min(w.IssuedAt, w.NotBefore, w.ExpiresAt) >= 0 && max(w.IssuedAt, w.NotBefore, w.ExpiresAt) < 1<<40
}

// form is a token that was taken apart. Nothing in it is trusted yet.
type form struct {
	algorithm Algorithm
	kid       string
	payload   []byte                     // the claims, as they were signed
	claims    map[string]json.RawMessage // the same, taken apart
	signed    string                     // what the signature covers
	signature []byte
}

// parse takes a token apart. It accepts only what Mint writes: base64url without line
// breaks, exactly three header fields, and no field twice, not even in another case
// (encoding/json would accept either). So a header can't name a key or an address of one.
func parse(raw string) (f form, err error) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 || strings.ContainsAny(raw, "\r\n") {
		return form{}, ErrMalformed
	}
	_, header, err := object(parts[0])
	if err != nil {
		return form{}, err
	}
	if f.payload, f.claims, err = object(parts[1]); err != nil {
		return form{}, err
	}
	var alg, typ *string
	if json.Unmarshal(header["alg"], &alg) != nil || alg == nil || !slices.Contains(algorithms, Algorithm(*alg)) {
		return form{}, ErrAlgorithm
	}
	if json.Unmarshal(header["typ"], &typ) != nil || typ == nil || *typ != "JWT" || len(header) != 3 {
		return form{}, ErrMalformed
	}
	if json.Unmarshal(header["kid"], &f.kid) != nil {
		return form{}, ErrMalformed
	}
	f.algorithm, f.signed = Algorithm(*alg), raw[:len(raw)-len(parts[2])-1]
	if f.signature, err = base64.RawURLEncoding.Strict().DecodeString(parts[2]); err != nil {
		return form{}, ErrMalformed
	}
	return f, nil
}

// object decodes one segment, which must be a JSON object.
func object(segment string) ([]byte, map[string]json.RawMessage, error) {
	text, err := base64.RawURLEncoding.Strict().DecodeString(segment)
	if err != nil {
		return nil, nil, ErrMalformed
	}
	fields, err := fieldsOf(text)
	return text, fields, err
}

// fieldsOf takes an object apart. Each name must be ASCII and occur once, in whatever case.
// The names of ours must be in lower case.
func fieldsOf(text []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, ErrMalformed
	}
	fields, seen := map[string]json.RawMessage{}, map[string]bool{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, ErrMalformed
		}
		name := key.(string) // an object's keys are strings, or Token has failed
		low := strings.ToLower(name)
		var value json.RawMessage
		if !ascii(name) || seen[low] || wireNames[low] && name != low || d.Decode(&value) != nil {
			return nil, ErrMalformed
		}
		fields[name], seen[low] = value, true
	}
	if _, err := d.Token(); err != nil { // the closing brace
		return nil, ErrMalformed
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, ErrMalformed
	}
	return fields, nil
}

// ascii is asked because encoding/json takes some letters outside ASCII for those in it.
func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}
