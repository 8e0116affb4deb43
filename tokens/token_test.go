package tokens

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"
)

const (
	gatewayID = "g1"
	sandboxID = "5b0c7d0e9f1a"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func openKeys(t testing.TB) *Keys {
	t.Helper()
	k, err := OpenKeys(t.TempDir() + "/keys")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func verifier(k *Keys) Verifier {
	return Verifier{Keys: k, GatewayID: gatewayID, Exists: func(id string) bool { return id == sandboxID }}
}

func request(generation uint64, ttl time.Duration, now time.Time) Request {
	return Request{SandboxID: sandboxID, Generation: generation, TTL: ttl, Now: now}
}

func mint(t testing.TB, k *Keys, now time.Time, ttl time.Duration) string {
	t.Helper()
	raw, _, err := Issuer{Keys: k, GatewayID: gatewayID}.Mint(request(7, ttl, now))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestMintAndVerify(t *testing.T) {
	k := openKeys(t)
	now := noon.Add(700 * time.Millisecond)
	raw, minted, err := Issuer{Keys: k, GatewayID: gatewayID}.Mint(request(7, time.Minute, now))
	if err != nil {
		t.Fatal(err)
	}
	got, err := verifier(k).Verify(string(raw), now)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, minted) {
		t.Errorf("verified %+v, minted %+v", got, minted)
	}
	if !got.IssuedAt.Equal(noon.Add(-skew)) || !got.ExpiresAt.Equal(noon.Add(time.Minute-skew)) || got.Generation != 7 ||
		got.SandboxID != sandboxID || got.KeyID != k.SigningKeyID() || len(got.TokenID) != 32 {
		t.Errorf("claims %+v", got)
	}
}

// TestWireFormat checks the bytes on the wire. They are a contract with other verifiers:
// see the package comment.
func TestWireFormat(t *testing.T) {
	k := openKeys(t)
	parts := strings.Split(mint(t, k, noon, time.Minute), ".")
	var header, claims map[string]any
	for i, into := range []*map[string]any{&header, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, into); err != nil {
			t.Fatal(err)
		}
	}
	jti := claims["jti"]
	delete(claims, "jti")
	want := map[string]any{
		"iss": "openshell-gateway:g1", "aud": "openshell-gateway:g1",
		"sub": "spiffe://openshell/sandbox/" + sandboxID, "sandbox_id": sandboxID,
		"iat": float64(noon.Unix() - 1), "nbf": float64(noon.Unix() - 1), "exp": float64(noon.Unix() + 59), "gen": 7.0,
	}
	if fmt.Sprint(claims) != fmt.Sprint(want) || jti == "" {
		t.Errorf("claims %v, want %v", claims, want)
	}
	if want := map[string]any{"alg": "EdDSA", "typ": "JWT", "kid": k.SigningKeyID()}; fmt.Sprint(header) != fmt.Sprint(want) {
		t.Errorf("header %v, want %v", header, want)
	}
}

func TestMintRefuses(t *testing.T) {
	k := openKeys(t)
	for _, c := range []struct {
		name    string
		gateway string
		r       Request
	}{
		{"no sandbox", gatewayID, Request{SandboxID: "", Generation: 1, TTL: time.Hour, Now: noon}},
		{"a path for a sandbox", gatewayID, Request{SandboxID: "../x", Generation: 1, TTL: time.Hour, Now: noon}},
		{"a slash", gatewayID, Request{SandboxID: "a/b", Generation: 1, TTL: time.Hour, Now: noon}},
		{"too long", gatewayID, Request{SandboxID: strings.Repeat("a", 65), Generation: 1, TTL: time.Hour, Now: noon}},
		{"no gateway", "", request(1, time.Hour, noon)},
		{"no generation", gatewayID, request(0, time.Hour, noon)},
		{"no lifetime", gatewayID, request(1, 0, noon)},
		{"a negative lifetime", gatewayID, request(1, -time.Hour, noon)},
		{"a lifetime that is over at once", gatewayID, request(1, 2*time.Second, noon)},
		{"a lifetime without end", gatewayID, request(1, MaxTTL+1, noon)},
	} {
		if raw, _, err := (Issuer{Keys: k, GatewayID: c.gateway}).Mint(c.r); err == nil || raw != "" {
			t.Errorf("%s: minted", c.name)
		}
	}
}

func TestTimes(t *testing.T) {
	k := openKeys(t)
	raw := mint(t, k, noon, time.Minute)
	const end = time.Minute - skew
	for _, c := range []struct {
		at     time.Duration
		leeway time.Duration
		want   error
	}{
		{0, 0, nil},
		{end - 1, 0, nil},
		{end, 0, ErrExpired}, // exp itself is too late
		{end, time.Second, nil},
		{end + DefaultLeeway - 1, DefaultLeeway, nil},
		{end + DefaultLeeway, DefaultLeeway, ErrExpired},
		{-skew, 0, nil},
		{-skew - 1, 0, ErrNotYetValid},
		{-skew - DefaultLeeway, DefaultLeeway, nil},
		{-skew - DefaultLeeway - 1, DefaultLeeway, ErrNotYetValid},
	} {
		v := verifier(k)
		v.Leeway = c.leeway
		if _, err := v.Verify(raw, noon.Add(c.at)); !errors.Is(err, c.want) {
			t.Errorf("at %v with leeway %v: %v, want %v", c.at, c.leeway, err, c.want)
		}
	}
	_, err := verifier(k).Verify(raw, noon.Add(4*time.Minute))
	if err == nil || !strings.Contains(err.Error(), "3m1s ago") {
		t.Errorf("an expired token is not told how long: %v", err)
	}
}

// TestSkewedVerifiers checks that a verifier whose clock is a second behind or ahead
// accepts a new token without leeway, in whatever part of a second it was minted. Another
// library with its strictest settings, which look at nbf and iat, accepts it too.
func TestSkewedVerifiers(t *testing.T) {
	k := openKeys(t)
	for part := time.Duration(0); part < time.Second; part += 50 * time.Millisecond {
		now := noon.Add(part)
		raw := mint(t, k, now, MinTTL(time.Second))
		for _, off := range []time.Duration{-skew, 0, skew} {
			if _, err := verifier(k).Verify(raw, now.Add(off)); err != nil {
				t.Errorf("minted %v after the full second, a clock %v off: %v", part, off, err)
			}
		}
	}
}

// TestMintedLifetime checks the arithmetic of renewals with minted tokens. At the latest
// renewal 0.45 of the lifetime has to be left. No token may live longer than requested.
func TestMintedLifetime(t *testing.T) {
	k := openKeys(t)
	for _, ttl := range []time.Duration{MinTTL(time.Second), time.Hour, MaxTTL} {
		for part := time.Duration(0); part < time.Second; part += 90 * time.Millisecond {
			now := noon.Add(part)
			_, c, err := Issuer{Keys: k, GatewayID: gatewayID}.Mint(request(7, ttl, now))
			if err != nil {
				t.Fatal(err)
			}
			if c.ExpiresAt.Sub(c.IssuedAt) != ttl {
				t.Errorf("it says that it lives for %v, want %v", c.ExpiresAt.Sub(c.IssuedAt), ttl)
			}
			if left := c.ExpiresAt.Sub(now); left > ttl || left <= ttl-skew-time.Second {
				t.Errorf("of %v are left %v at the beginning", ttl, left)
			}
			for i := range 50 {
				if left := c.ExpiresAt.Sub(RenewAt(c.IssuedAt, ttl, fmt.Sprint(i))); left < ttl*45/100 {
					t.Errorf("of %v are left %v at the renewal", ttl, left)
				}
			}
		}
	}
}

// noLeak fails if err quotes a piece of a token.
func noLeak(t *testing.T, err error, raw string) {
	t.Helper()
	for part := range strings.SplitSeq(raw, ".") {
		if err != nil && len(part) >= 8 && strings.Contains(err.Error(), part[:8]) {
			t.Errorf("the error quotes the token: %v", err)
		}
	}
}

func exchange(raw string, part int, by string) string {
	parts := strings.Split(raw, ".")
	parts[part] = by
	return strings.Join(parts, ".")
}

func TestRawDoesNotPrint(t *testing.T) {
	raw, _, err := Issuer{Keys: openKeys(t), GatewayID: gatewayID}.Mint(request(1, time.Hour, noon))
	if err != nil {
		t.Fatal(err)
	}
	inJSON, err := json.Marshal(struct{ T Raw }{raw})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "token", raw)
	for _, text := range []string{
		fmt.Sprint(raw), fmt.Sprintf("%s %v %+v %#v %q %x %d", raw, raw, raw, raw, raw, raw, raw),
		fmt.Sprintf("%+v", struct{ T Raw }{raw}), string(inJSON), log.String(),
	} {
		if strings.Contains(text, string(raw)[:20]) || strings.Contains(text, fmt.Sprintf("%x", string(raw)[:20])) {
			t.Errorf("a token in %q", text)
		}
	}
}
