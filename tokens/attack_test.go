package tokens

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func (k *Keys) signingKey(a Algorithm) crypto.Signer {
	r := k.now()
	return r[r.signing(a, noon)].key
}

// forge signs any header and claims with the real key.
func forge(k *Keys, a Algorithm, header, claims string) string {
	text := encode(header) + "." + encode(claims)
	sig, err := a.sign(k.signingKey(a), text)
	if err != nil {
		panic(err)
	}
	return text + "." + encode(string(sig))
}

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// TestVerifyRefuses: what an attacker may try with a key of each kind is refused, each with
// its own reason.
func TestVerifyRefuses(t *testing.T) {
	k, otherKeys := openKeys(t), openKeys(t)
	for _, keys := range []*Keys{k, otherKeys} {
		if err := keys.Want(noon, algorithms...); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range algorithms {
		t.Run(string(a), func(t *testing.T) { refuses(t, k, otherKeys, a) })
	}
}

func refuses(t *testing.T, k, otherKeys *Keys, a Algorithm) {
	kid := k.signingID(a)
	goodHeader := fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"JWT"}`, a, kid)
	goodClaims := fmt.Sprintf(`{"iss":"openshell-gateway:g1","aud":"openshell-gateway:g1",`+
		`"sub":"spiffe://openshell/sandbox/%s","sandbox_id":%q,"iat":%d,"nbf":%d,"exp":%d,"jti":"j","gen":1}`,
		sandboxID, sandboxID, noon.Unix(), noon.Unix(), noon.Unix()+60)
	header := func(old, new string) string { return forge(k, a, strings.Replace(goodHeader, old, new, 1), goodClaims) }
	claims := func(old, new string) string { return forge(k, a, goodHeader, strings.Replace(goodClaims, old, new, 1)) }
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
		return forge(k, a, goodHeader, string(text))
	}
	good := forge(k, a, goodHeader, goodClaims)
	if _, err := verifier(k).Verify(good, noon); err != nil {
		t.Fatalf("the starting point of this table is no valid token: %v", err)
	}
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
		{"header no object", forge(k, a, `"x"`, goodClaims), ErrMalformed},
		{"header cut off", forge(k, a, `{"alg":"EdDSA"`, goodClaims), ErrMalformed},
		{"something after the header", forge(k, a, goodHeader+"{}", goodClaims), ErrMalformed},
		{"claims null", forge(k, a, goodHeader, "null"), ErrMalformed},
		{"oversize", good + strings.Repeat("A", MaxSize), ErrTooLarge},
		{"oversize and signed", claims(`"jti":"j"`, `"jti":"`+strings.Repeat("j", MaxSize)+`"`), ErrTooLarge},

		{"alg none", header(string(a), "none"), ErrAlgorithm},
		{"alg none, unsigned", encode(strings.Replace(goodHeader, string(a), "none", 1)) + "." + encode(goodClaims) + ".", ErrAlgorithm},
		{"alg in another case", header(string(a), strings.ToLower(string(a))), ErrAlgorithm},
		{"alg PS256", header(string(a), "PS256"), ErrAlgorithm},
		{"alg null", header(`"`+string(a)+`"`, "null"), ErrAlgorithm},
		{"no alg", header(fmt.Sprintf(`"alg":%q,`, a), ""), ErrAlgorithm},
		{"alg a number", header(`"`+string(a)+`"`, "1"), ErrAlgorithm},
		{"alg twice", header(`{`, `{"alg":"none",`), ErrMalformed},
		{"alg twice in another case", header(`{`, `{"Alg":"none",`), ErrMalformed},
		{"typ missing", header(`,"typ":"JWT"`, ""), ErrMalformed},
		{"typ another", header(`"JWT"`, `"at+jwt"`), ErrMalformed},
		{"crit", header(`{`, `{"crit":["exp"],`), ErrMalformed},
		{"a key in the header", header(`{`, `{"jwk":{},`), ErrMalformed},
		{"a key in place of kid", header(fmt.Sprintf(`"kid":%q`, kid), `"jwk":{}`), ErrMalformed},
		{"the address of a key set", header(`{`, `{"jku":"https://evil.example/jwks",`), ErrMalformed},
		{"the address of a certificate", header(`{`, `{"x5u":"https://evil.example/c",`), ErrMalformed},
		{"kid an array", header(fmt.Sprintf("%q", kid), fmt.Sprintf("[%q]", kid)), ErrMalformed},
		{"kid twice", header(`{`, fmt.Sprintf(`{"kid":%q,`, kid)), ErrMalformed},
		{"kid in another case", header(`"kid"`, `"KID"`), ErrMalformed},
		{"kid null", header(fmt.Sprintf("%q", kid), "null"), ErrUnknownKey},
		{"kid with a zero byte", header(kid, kid+`\u0000`), ErrUnknownKey},
		{"kid in upper case", header(kid, strings.ToUpper(kid)), ErrUnknownKey},
		{"no kid", header(fmt.Sprintf(`"kid":%q,`, kid), ""), ErrMalformed},
		{"kid empty", header(kid, ""), ErrUnknownKey},
		{"kid a path", header(kid, "../x"), ErrUnknownKey},
		{"kid of another gateway", header(kid, otherKeys.signingID(a)), ErrUnknownKey},

		{"another key", forge(otherKeys, a, goodHeader, goodClaims), ErrSignature},
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
		{"exp with a fraction", claims(fmt.Sprintf(`"exp":%d`, noon.Unix()+60), fmt.Sprintf(`"exp":%d.5`, noon.Unix()+60)), ErrMalformed},
		{"exp beyond int64", claims(fmt.Sprintf(`"exp":%d`, noon.Unix()+60), `"exp":1e300`), ErrMalformed},
		{"exp twice", claims(`{`, `{"exp":1,`), ErrMalformed},
		{"exp twice in another case", claims(`{`, `{"EXP":9999999999,`), ErrMalformed},
		{"exp twice, escaped", claims(`{`, `{"\u0065xp":1,`), ErrMalformed},
		{"sub twice with a letter outside ASCII", claims(`{`, `{"\u017fub":"x",`), ErrMalformed},
		{"a claim that is no text", claims(`{`, `{"admin":true,`), ErrMalformed},
		{"a claim that is null", claims(`{`, `{"admin":null,`), ErrMalformed},
		{"openshell no object", claims(`{`, `{"openshell":"x",`), ErrMalformed},
		{"openshell of another", claims(`{`, `{"openshell":{"id":"other"},`), ErrSubject},
		{"gen negative", claims(`"gen":1`, `"gen":-1`), ErrMalformed},
		{"wrong iss", claims(`"iss":"openshell-gateway:g1"`, `"iss":"openshell-gateway:g2"`), ErrIssuer},
		{"wrong aud", claims(`"aud":"openshell-gateway:g1"`, `"aud":"openshell-gateway:g2"`), ErrAudience},
		{"aud with a stranger beside", claims(`"aud":"openshell-gateway:g1"`, `"aud":["openshell-gateway:g1","x"]`), ErrMalformed},
		{"aud an array", claims(`"aud":"openshell-gateway:g1"`, `"aud":["openshell-gateway:g1"]`), ErrMalformed},
		{"sub in another trust domain", claims("spiffe://openshell/", "spiffe://evil/"), ErrSubject},
		{"an identity for the gateway", claims("sandbox/"+sandboxID, "identity/x"), ErrSubject},
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
		{"expired a second past the leeway", claims(fmt.Sprintf(`"exp":%d`, noon.Unix()+60), fmt.Sprintf(`"exp":%d`, noon.Unix()-5)), ErrExpired},
		{"revoked", claims(`"jti":"j"`, `"jti":"revoked"`), ErrRevoked},
		{"a sandbox that is gone", forge(k, a, goodHeader, strings.ReplaceAll(goodClaims, sandboxID, "gone")), ErrNoSandbox},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := verifier(k)
			v.Revoked = func(c Claims) bool { return c.TokenID == "revoked" }
			if strings.Contains(c.name, "leeway") {
				v.Leeway = DefaultLeeway
			}
			got, err := v.Verify(c.raw, noon)
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

func (k *Keys) signingID(a Algorithm) string {
	r := k.now()
	return r[r.signing(a, noon)].ID
}

// TestAlgorithmIsTheKeys: a header can't choose what a key is used for.
func TestAlgorithmIsTheKeys(t *testing.T) {
	k := openKeys(t)
	if err := k.Want(noon, algorithms...); err != nil {
		t.Fatal(err)
	}
	v := verifier(k)
	for _, a := range algorithms {
		good := mintWith(t, k, a)
		if _, err := audience(v).Verify(good, noon); err != nil {
			t.Fatalf("%s: %v", a, err)
		}
		payload := strings.Split(good, ".")[1]
		for _, other := range algorithms {
			if other == a {
				continue
			}
			// Signed with the other key, under the kid of this one, with either's algorithm.
			for named, want := range map[Algorithm]error{a: ErrSignature, other: ErrAlgorithm} {
				text := encode(fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"JWT"}`, named, k.signingID(a))) + "." + payload
				sig, err := other.sign(k.signingKey(other), text)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := audience(v).Verify(text+"."+encode(string(sig)), noon); !errors.Is(err, want) {
					t.Errorf("the kid of a key for %s, signed for %s as %s: %v", a, other, named, err)
				}
			}
		}
		for form, secret := range publicForms(t, k.signingKey(a).Public()) {
			for alg, want := range map[string]error{"HS256": ErrAlgorithm, "HS512": ErrAlgorithm, string(a): ErrSignature} {
				text := encode(fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"JWT"}`, alg, k.signingID(a))) + "." + payload
				mac := hmac.New(sha256.New, secret)
				mac.Write([]byte(text))
				if _, err := audience(v).Verify(text+"."+encode(string(mac.Sum(nil))), noon); !errors.Is(err, want) {
					t.Errorf("HMAC with the public key in the form %s as %s: %v", form, alg, err)
				}
			}
		}
	}
}

// publicForms are the forms of a public key that a careless verifier may take for a secret.
func publicForms(t *testing.T, key crypto.PublicKey) map[string][]byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	set, err := publicJWK(key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	forms := map[string][]byte{"DER": der, "PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "JWK": text}
	switch key := key.(type) {
	case ed25519.PublicKey:
		forms["raw"] = key
	case *ecdsa.PublicKey:
		if forms["raw"], err = key.Bytes(); err != nil {
			t.Fatal(err)
		}
	case *rsa.PublicKey:
		forms["raw"] = key.N.Bytes()
	}
	return forms
}

func mintWith(t testing.TB, k *Keys, a Algorithm) string {
	t.Helper()
	raw, _, err := Issuer{Keys: k, GatewayID: gatewayID}.Mint(forAudience(a))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// audience returns a verifier for the audience that forAudience names.
func audience(v Verifier) Verifier {
	v.Audiences = []string{"https://api.example.com"}
	return v
}

// TestSignatureForms: a signature has one form. Of others that a verifier may take for the
// same one is none accepted, so a token can't be turned into another text.
func TestSignatureForms(t *testing.T) {
	k := openKeys(t)
	for range 8 { // half of all signatures are made with a high s
		good := mintWith(t, k, ES256)
		parts := strings.Split(good, ".")
		sig, err := base64.RawURLEncoding.DecodeString(parts[2])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := audience(verifier(k)).Verify(good, noon); err != nil {
			t.Fatal(err)
		}
		r, s := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])
		der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
		if err != nil {
			t.Fatal(err)
		}
		high := new(big.Int).Sub(p256Order, s).FillBytes(make([]byte, 32))
		over := new(big.Int).Add(p256Order, s).Bytes()
		zero := make([]byte, 32)
		for name, forged := range map[string][]byte{
			"DER": der, "high s": slices.Concat(sig[:32], high), "s and r": slices.Concat(sig[32:], sig[:32]),
			"r alone": sig[:32], "a byte less": sig[:63], "a byte more": append(slices.Clone(sig), 0),
			"a leading zero each": slices.Concat([]byte{0}, sig[:32], []byte{0}, sig[32:]),
			"zero r":              slices.Concat(zero, sig[32:]), "zero s": slices.Concat(sig[:32], zero), "zeros": make([]byte, 64),
			"s over the order": slices.Concat(sig[:32], over), "none": {},
		} {
			if _, err := audience(verifier(k)).Verify(exchange(good, 2, encode(string(forged))), noon); !errors.Is(err, ErrSignature) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if !ecdsa.Verify(k.signingKey(ES256).Public().(*ecdsa.PublicKey), digest(parts[0]+"."+parts[1]), r, new(big.Int).SetBytes(high)) {
			t.Error("the high form is no signature at all: this test shows nothing")
		}
	}
}

func digest(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

// TestFormerIssuers: after a change of the issuer or the trust domain, tokens of the former
// one are good until its time.
func TestFormerIssuers(t *testing.T) {
	k := openKeys(t)
	raws := map[string]string{}
	for name, i := range map[string]Issuer{"first": {}, "second": {URL: "https://a.example"}, "third": {URL: "https://a.example", TrustDomain: "example.org"}} {
		i.Keys, i.GatewayID = k, gatewayID
		raw, _, err := i.Mint(request(1, time.Hour, noon))
		if err != nil {
			t.Fatal(err)
		}
		raws[name] = string(raw)
	}
	v := verifier(k)
	v.URL, v.TrustDomain = "https://a.example", "example.org"
	v.Former = []Former{{Until: noon.Add(time.Minute)}, {URL: "https://a.example", Until: noon.Add(2 * time.Minute)}}
	for _, c := range []struct {
		name string
		at   time.Duration
		want error
	}{
		{"first", time.Minute - 1, nil}, {"first", time.Minute, ErrIssuer},
		{"second", 2*time.Minute - 1, nil}, {"second", 2 * time.Minute, ErrSubject},
		{"third", 3 * time.Minute, nil},
	} {
		if _, err := v.Verify(raws[c.name], noon.Add(c.at)); !errors.Is(err, c.want) {
			t.Errorf("the %s issuer's after %v: %v, want %v", c.name, c.at, err, c.want)
		}
	}
	if _, err := verifier(k).Verify(raws["third"], noon); !errors.Is(err, ErrIssuer) {
		t.Errorf("a stranger's: %v", err)
	}
}

// FuzzVerify looks for tokens that make Verify panic, and for tokens that it accepts
// although nobody minted them, with a key of each kind.
func FuzzVerify(f *testing.F) {
	k := openKeys(f)
	good := map[string]bool{}
	add := func(raw string) {
		good[raw] = true
		f.Add(raw)
		f.Add(raw + "\n")
		f.Add(exchange(raw, 2, ""))
		f.Add(exchange(raw, 0, encode(`{"alg":"none","typ":"JWT","kid":"x"}`)))
		f.Add(exchange(raw, 1, encode(`{"exp":1e400,"EXP":[{}]}`)))
	}
	add(mint(f, k, noon, time.Minute))
	for _, a := range algorithms {
		add(mintWith(f, k, a))
	}
	f.Add("..")
	v := verifier(k)
	v.Audiences = []string{"openshell-gateway:" + gatewayID, "https://api.example.com"}
	f.Fuzz(func(t *testing.T, raw string) {
		_, err := v.Verify(raw, noon)
		if err == nil && !good[raw] {
			t.Fatalf("took a token that was not minted: %q", raw)
		}
		noLeak(t, err, raw)
	})
}

// BenchmarkMint says what a token costs with each algorithm.
func BenchmarkMint(b *testing.B) {
	issuer := Issuer{Keys: openKeys(b), GatewayID: gatewayID}
	if err := issuer.Keys.Want(noon, algorithms...); err != nil {
		b.Fatal(err)
	}
	b.Run("gateway", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := issuer.Mint(request(1, time.Hour, noon)); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, a := range algorithms {
		b.Run(string(a), func(b *testing.B) {
			for b.Loop() {
				if _, _, err := issuer.Mint(forAudience(a)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	k := openKeys(b)
	v := audience(verifier(k))
	for _, a := range algorithms {
		raw := mintWith(b, k, a)
		b.Run(string(a), func(b *testing.B) {
			for b.Loop() {
				if _, err := v.Verify(raw, noon); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
