package tokens

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// DefaultLeeway is the clock difference that verifiers commonly allow. It is never added by
// itself: only Verifier.Leeway counts.
const DefaultLeeway = 5 * time.Second

// Verifier checks tokens for one gateway. It is safe for concurrent use if
// Exists is.
type Verifier struct {
	Keys      *Keys
	GatewayID string
	Leeway    time.Duration // allowed clock difference; 0 means none
	// Exists reports whether the sandbox with this id still exists. It is called last, for
	// tokens that are good otherwise. It must not be nil.
	Exists func(sandboxID string) bool
}

// Verify returns the claims of a good token. Its error wraps one of the Err values, says in
// one line what is wrong, and contains nothing of the token.
func (v Verifier) Verify(raw string, now time.Time) (Claims, error) {
	if len(raw) > MaxSize {
		return Claims{}, fmt.Errorf("%w: %d bytes, at most %d are read", ErrTooLarge, len(raw), MaxSize)
	}
	kid, err := checkForm(raw)
	if err != nil {
		return Claims{}, err
	}
	var w wire
	_, err = v.parser(now).ParseWithClaims(raw, &w, func(*jwt.Token) (any, error) {
		return v.Keys.verifier(kid, now)
	})
	if err != nil {
		return Claims{}, reason(err, w, now)
	}
	if err := w.complete(); err != nil {
		return Claims{}, err
	}
	if !v.Exists(w.SandboxID) {
		return Claims{}, ErrNoSandbox
	}
	return w.claims(kid), nil
}

func (v Verifier) parser(now time.Time) *jwt.Parser {
	self := issuerPrefix + v.GatewayID
	return jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}),
		jwt.WithStrictDecoding(),
		jwt.WithTimeFunc(func() time.Time { return now }),
		jwt.WithLeeway(v.Leeway),
		jwt.WithIssuer(self), jwt.WithAudience(self),
		jwt.WithExpirationRequired(), jwt.WithNotBeforeRequired(), jwt.WithIssuedAt(),
	)
}

// reason turns the library's error into one of ours. It drops the library's text, which
// could quote the token.
func reason(err error, w wire, now time.Time) error {
	// The first match counts: if the signature is wrong, the error says nothing about the
	// claims.
	for _, r := range []struct{ theirs, ours error }{
		{ErrUnknownKey, ErrUnknownKey},
		{jwt.ErrTokenSignatureInvalid, ErrSignature},
		{jwt.ErrTokenRequiredClaimMissing, ErrMissingClaim},
		{jwt.ErrTokenInvalidIssuer, ErrIssuer},
		{jwt.ErrTokenInvalidAudience, ErrAudience},
		{jwt.ErrTokenNotValidYet, ErrNotYetValid},
		{jwt.ErrTokenUsedBeforeIssued, ErrNotYetValid},
		{jwt.ErrTokenExpired, ErrExpired},
	} {
		if !errors.Is(err, r.theirs) {
			continue
		}
		if (r.ours == ErrExpired || r.ours == ErrNotYetValid) && !w.possible() {
			return ErrMalformed
		}
		if r.ours == ErrExpired {
			ago := now.Sub(time.Unix(w.ExpiresAt, 0)).Truncate(time.Second)
			return fmt.Errorf("%w, %v ago", ErrExpired, ago)
		}
		return r.ours
	}
	return ErrMalformed
}

// complete checks what the library does not check.
func (w *wire) complete() error {
	switch {
	case w.IssuedAt == 0 || w.TokenID == "" || w.SandboxID == "" || w.Subject == "" || w.Generation == 0:
		return ErrMissingClaim
	case !w.possible():
		return ErrMalformed
	case w.ExpiresAt-w.IssuedAt > int64(MaxTTL/time.Second): // of an older gateway, which had no limit
		return ErrLifetime
	case w.Subject != subjectPrefix+w.SandboxID:
		return ErrSubject
	}
	return nil
}

// possible reports whether the times are none that overflow in some arithmetic; Mint makes
// none of those. The limit is in the year 36,812.
func (w *wire) possible() bool {
	return min(w.IssuedAt, w.NotBefore, w.ExpiresAt) >= 0 && max(w.IssuedAt, w.NotBefore, w.ExpiresAt) < 1<<40
}

// checkForm checks a token's form before anything in it is trusted, and returns its key id.
// It accepts only what Mint writes: base64url without line breaks, exactly three header
// fields, and no field twice, not even in another case (encoding/json would accept either).
func checkForm(raw string) (kid string, err error) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 || strings.ContainsAny(raw, "\r\n") {
		return "", ErrMalformed
	}
	var fields [2]map[string]json.RawMessage
	for i := range fields {
		if fields[i], err = object(parts[i]); err != nil {
			return "", err
		}
	}
	header := fields[0]
	var alg, typ string
	if json.Unmarshal(header["alg"], &alg) != nil || alg != jwt.SigningMethodEdDSA.Alg() {
		return "", ErrAlgorithm
	}
	if json.Unmarshal(header["typ"], &typ) != nil || typ != "JWT" || len(header) != 3 {
		return "", ErrMalformed
	}
	if json.Unmarshal(header["kid"], &kid) != nil {
		return "", ErrMalformed
	}
	return kid, nil
}

// object decodes one segment, which must be a JSON object. Each key must be lower case and
// occur once.
func object(segment string) (map[string]json.RawMessage, error) {
	text, err := base64.RawURLEncoding.Strict().DecodeString(segment)
	if err != nil {
		return nil, ErrMalformed
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, ErrMalformed
	}
	fields := map[string]json.RawMessage{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, ErrMalformed
		}
		name := key.(string) // an object's keys are strings, or Token has failed
		var value json.RawMessage
		if _, twice := fields[name]; twice || name != strings.ToLower(name) || d.Decode(&value) != nil {
			return nil, ErrMalformed
		}
		fields[name] = value
	}
	if _, err := d.Token(); err != nil { // the closing brace
		return nil, ErrMalformed
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, ErrMalformed
	}
	return fields, nil
}
