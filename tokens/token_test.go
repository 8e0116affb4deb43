package tokens

import (
	"crypto"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
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

func (k *Keys) signingKey(a Algorithm) crypto.Signer {
	r := k.now()
	return r[r.signing(a, noon)].key
}

// forge signs any header and claims with the real key.
func forge(k *Keys, header, claims string) string {
	text := encode(header) + "." + encode(claims)
	return text + "." + encode(string(ed25519.Sign(k.signingKey(EdDSA).(ed25519.PrivateKey), []byte(text))))
}

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func TestVerifyRefuses(t *testing.T) {
	k := openKeys(t)
	goodHeader := fmt.Sprintf(`{"alg":"EdDSA","kid":%q,"typ":"JWT"}`, k.SigningKeyID())
	goodClaims := fmt.Sprintf(`{"iss":"openshell-gateway:g1","aud":"openshell-gateway:g1",`+
		`"sub":"spiffe://openshell/sandbox/%s","sandbox_id":%q,"iat":%d,"nbf":%d,"exp":%d,"jti":"j","gen":1}`,
		sandboxID, sandboxID, noon.Unix(), noon.Unix(), noon.Unix()+60)
	header := func(old, new string) string { return forge(k, strings.Replace(goodHeader, old, new, 1), goodClaims) }
	claims := func(old, new string) string { return forge(k, goodHeader, strings.Replace(goodClaims, old, new, 1)) }
	drop := func(claim string) string {
		var m map[string]json.RawMessage
		if err := json.Unmarshal([]byte(goodClaims), &m); err != nil {
			t.Fatal(err)
		}
		delete(m, claim)
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return forge(k, goodHeader, string(text))
	}
	good := forge(k, goodHeader, goodClaims)
	if _, err := verifier(k).Verify(good, noon); err != nil {
		t.Fatalf("the starting point of this table is no valid token: %v", err)
	}
	otherKeys := openKeys(t)
	for _, c := range []struct {
		name string
		raw  string
		want error
	}{
		{"empty", "", ErrMalformed},
		{"two parts", "a.b", ErrMalformed},
		{"four parts", good + ".x", ErrMalformed},
		{"a line break at the end", good + "\n", ErrMalformed},
		{"a line break inside", strings.Replace(good, ".", "\n.", 1), ErrMalformed},
		{"padding", good + "==", ErrMalformed},
		{"not base64", "@@." + good, ErrMalformed},
		{"header no object", forge(k, `"x"`, goodClaims), ErrMalformed},
		{"header cut off", forge(k, `{"alg":"EdDSA"`, goodClaims), ErrMalformed},
		{"something after the header", forge(k, goodHeader+"{}", goodClaims), ErrMalformed},
		{"claims null", forge(k, goodHeader, "null"), ErrMalformed},
		{"oversize", good + strings.Repeat("A", MaxSize), ErrTooLarge},
		{"oversize and signed", claims(`"jti":"j"`, `"jti":"`+strings.Repeat("j", MaxSize)+`"`), ErrTooLarge},

		{"alg none", header("EdDSA", "none"), ErrAlgorithm},
		{"alg none, unsigned", encode(strings.Replace(goodHeader, "EdDSA", "none", 1)) + "." + encode(goodClaims) + ".", ErrAlgorithm},
		{"HS256 with the public key", hs256(k, goodHeader, goodClaims, false), ErrAlgorithm},
		{"HS256 with the public key in PEM", hs256(k, goodHeader, goodClaims, true), ErrAlgorithm},
		{"alg RS256", header("EdDSA", "RS256"), ErrAlgorithm},
		{"alg in another case", header("EdDSA", "eddsa"), ErrAlgorithm},
		{"no alg", header(`"alg":"EdDSA",`, ""), ErrAlgorithm},
		{"alg a number", header(`"EdDSA"`, "1"), ErrAlgorithm},
		{"alg twice", header(`{`, `{"alg":"none",`), ErrMalformed},
		{"alg twice in another case", header(`{`, `{"Alg":"none",`), ErrMalformed},
		{"typ missing", header(`,"typ":"JWT"`, ""), ErrMalformed},
		{"typ another", header(`"JWT"`, `"at+jwt"`), ErrMalformed},
		{"crit", header(`{`, `{"crit":["exp"],`), ErrMalformed},
		{"a key in the header", header(`{`, `{"jwk":{},`), ErrMalformed},
		{"no kid", header(fmt.Sprintf(`"kid":%q,`, k.SigningKeyID()), ""), ErrMalformed},
		{"kid empty", header(k.SigningKeyID(), ""), ErrUnknownKey},
		{"kid a path", header(k.SigningKeyID(), "../x"), ErrUnknownKey},
		{"kid of another gateway", header(k.SigningKeyID(), otherKeys.SigningKeyID()), ErrUnknownKey},

		{"another key", forge(otherKeys, goodHeader, goodClaims), ErrSignature},
		{"no signature", good[:strings.LastIndex(good, ".")+1], ErrSignature},
		{"claims exchanged", exchange(good, 1, encode(strings.Replace(goodClaims, `"gen":1`, `"gen":2`, 1))), ErrSignature},

		{"no iss", drop("iss"), ErrMissingClaim},
		{"no aud", drop("aud"), ErrMissingClaim},
		{"no sub", drop("sub"), ErrMissingClaim},
		{"no sandbox_id", drop("sandbox_id"), ErrMissingClaim},
		{"no iat", drop("iat"), ErrMissingClaim},
		{"no nbf", drop("nbf"), ErrMissingClaim},
		{"no exp", drop("exp"), ErrMissingClaim},
		{"no jti", drop("jti"), ErrMissingClaim},
		{"no gen", drop("gen"), ErrMissingClaim},
		{"exp null", claims(fmt.Sprintf(`"exp":%d`, noon.Unix()+60), `"exp":null`), ErrMissingClaim},
		{"exp a string", claims(fmt.Sprintf(`"exp":%d`, noon.Unix()+60), `"exp":"never"`), ErrMalformed},
		{"exp beyond int64", claims(fmt.Sprintf(`"exp":%d`, noon.Unix()+60), `"exp":1e300`), ErrMalformed},
		{"exp twice", claims(`{`, `{"exp":1,`), ErrMalformed},
		{"exp twice in another case", claims(`{`, `{"EXP":9999999999,`), ErrMalformed},
		{"exp twice, escaped", claims(`{`, `{"\u0065xp":1,`), ErrMalformed},
		{"gen negative", claims(`"gen":1`, `"gen":-1`), ErrMalformed},
		{"wrong iss", claims(`"iss":"openshell-gateway:g1"`, `"iss":"openshell-gateway:g2"`), ErrIssuer},
		{"wrong aud", claims(`"aud":"openshell-gateway:g1"`, `"aud":"openshell-gateway:g2"`), ErrAudience},
		{"aud with a stranger beside", claims(`"aud":"openshell-gateway:g1"`, `"aud":["openshell-gateway:g1","x"]`), ErrMalformed},
		{"sub of another", claims(`sandbox/`+sandboxID, `sandbox/other`), ErrSubject},
		{"sandbox_id of another", claims(`"sandbox_id":"`+sandboxID, `"sandbox_id":"other`), ErrSubject},
		{"nbf later", claims(fmt.Sprintf(`"nbf":%d`, noon.Unix()), fmt.Sprintf(`"nbf":%d`, noon.Unix()+9)), ErrNotYetValid},
		{"iat later", claims(fmt.Sprintf(`"iat":%d`, noon.Unix()), fmt.Sprintf(`"iat":%d`, noon.Unix()+9)), ErrNotYetValid},
		{"nbf beyond time", claims(fmt.Sprintf(`"nbf":%d`, noon.Unix()), `"nbf":9223372036854775807`), ErrMalformed},
		{"nbf that wraps around", claims(fmt.Sprintf(`"nbf":%d`, noon.Unix()), `"nbf":9223371974719179008`), ErrMalformed},
		{"iat beyond time", claims(fmt.Sprintf(`"iat":%d`, noon.Unix()), `"iat":9223372036854775807`), ErrMalformed},
		{"exp beyond time", claims(fmt.Sprintf(`"exp":%d`, noon.Unix()+60), `"exp":9223372036854775807`), ErrMalformed},
		{"exp far beyond any lifetime", claims(fmt.Sprintf(`"exp":%d`, noon.Unix()+60), fmt.Sprintf(`"exp":%d`, int64(1)<<40)), ErrMalformed},
		{"a lifetime over a day", claims(fmt.Sprintf(`"exp":%d`, noon.Unix()+60), fmt.Sprintf(`"exp":%d`, noon.Add(MaxTTL).Unix()+1)), ErrLifetime},
		{"nbf before time", claims(fmt.Sprintf(`"nbf":%d`, noon.Unix()), `"nbf":-9223372036854775808`), ErrMalformed},
		{"iat negative", claims(fmt.Sprintf(`"iat":%d`, noon.Unix()), `"iat":-1`), ErrMalformed},
		{"a sandbox that is gone", forge(k, goodHeader, strings.ReplaceAll(goodClaims, sandboxID, "gone")), ErrNoSandbox},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := verifier(k).Verify(c.raw, noon)
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if !reflect.DeepEqual(got, Claims{}) {
				t.Errorf("a refused token still gives claims: %+v", got)
			}
			noLeak(t, err, c.raw)
		})
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

func hs256(k *Keys, header, claims string, asPEM bool) string {
	key := k.signingKey(EdDSA)
	secret := []byte(key.Public().(ed25519.PublicKey))
	if asPEM {
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			panic(err)
		}
		secret = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	text := encode(strings.Replace(header, "EdDSA", "HS256", 1)) + "." + encode(claims)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(text))
	return text + "." + encode(string(mac.Sum(nil)))
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

// FuzzVerify looks for tokens that make Verify panic, and for tokens that it accepts
// although nobody minted them.
func FuzzVerify(f *testing.F) {
	k := openKeys(f)
	good := mint(f, k, noon, time.Minute)
	f.Add(good)
	f.Add(good + "\n")
	f.Add(exchange(good, 2, ""))
	f.Add(exchange(good, 0, encode(`{"alg":"none","typ":"JWT","kid":"x"}`)))
	f.Add(exchange(good, 1, encode(`{"exp":1e400,"EXP":[{}]}`)))
	f.Add("..")
	v := verifier(k)
	f.Fuzz(func(t *testing.T, raw string) {
		_, err := v.Verify(raw, noon)
		if err == nil && raw != good {
			t.Fatalf("took a token that was not minted: %q", raw)
		}
		noLeak(t, err, raw)
	})
}

func BenchmarkMint(b *testing.B) {
	issuer := Issuer{Keys: openKeys(b), GatewayID: gatewayID}
	for b.Loop() {
		if _, _, err := issuer.Mint(request(1, time.Hour, noon)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	k := openKeys(b)
	raw, v := mint(b, k, noon, time.Hour), verifier(k)
	for b.Loop() {
		if _, err := v.Verify(raw, noon); err != nil {
			b.Fatal(err)
		}
	}
}
