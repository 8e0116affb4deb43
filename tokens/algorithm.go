package tokens

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/golang-jwt/jwt/v5"
)

// Algorithm is how a token is signed, by its name in the header (RFC 7518, RFC 8037). Each
// has keys of one kind, and a key has one algorithm.
type Algorithm string

// The algorithms.
const (
	EdDSA Algorithm = "EdDSA" // Ed25519: the token for the gateway
	ES256 Algorithm = "ES256" // ECDSA over P-256: what most others take, and cheap
	RS256 Algorithm = "RS256" // RSA with PKCS #1 v1.5: for those that take nothing else
)

// algorithms has all, in the order in which they are shown.
var algorithms = []Algorithm{EdDSA, ES256, RS256}

// rsaBits is the size of RSA keys: the least that RFC 7518 allows. A bigger one adds
// nothing for a token of a day at most and a key that can be rotated, but signing takes
// three times as long with 3072.
const rsaBits = 2048

// ParseAlgorithm returns the algorithm with this name.
func ParseAlgorithm(name string) (Algorithm, error) {
	if a := Algorithm(name); slices.Contains(algorithms, a) {
		return a, nil
	}
	return "", fmt.Errorf("tokens can't be signed with %q: EdDSA, ES256 and RS256 are possible", name)
}

// generate makes a private key.
func (a Algorithm) generate() (crypto.Signer, error) {
	switch a {
	case EdDSA:
		_, key, err := ed25519.GenerateKey(nil)
		return key, err
	case ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case RS256:
		return rsa.GenerateKey(rand.Reader, rsaBits)
	}
	return nil, fmt.Errorf("no keys for the algorithm %q", string(a))
}

// algorithmOf returns the only algorithm that a private key may be used with.
func algorithmOf(key any) (Algorithm, error) {
	switch key := key.(type) {
	case ed25519.PrivateKey:
		return EdDSA, nil
	case *ecdsa.PrivateKey:
		if key.Curve == elliptic.P256() {
			return ES256, nil
		}
	case *rsa.PrivateKey:
		if key.N.BitLen() >= rsaBits {
			return RS256, nil
		}
	}
	return "", errors.New("not an Ed25519 key, a P-256 key or an RSA key of 2048 bits or more")
}

// sign signs a text. Whether two signatures of one text are the same is the library's
// choice: only Ed25519 and RSA promise it.
func (a Algorithm) sign(key crypto.Signer, text string) ([]byte, error) {
	sig, err := jwt.GetSigningMethod(string(a)).Sign(text, key)
	if err == nil && a == ES256 {
		lower(sig)
	}
	return sig, err
}

// verify reports whether sig is the signature of text. It takes one form only: with ECDSA,
// whoever has a signature can make a second one that also fits (n - s for s), and so a
// second text of the same token.
func (a Algorithm) verify(key crypto.PublicKey, text string, sig []byte) bool {
	if a == ES256 && (len(sig) != 2*p256Size || isHigh(sig)) {
		return false
	}
	return jwt.GetSigningMethod(string(a)).Verify(text, sig, key) == nil
}

const p256Size = 32 // bytes of each half of a signature

var p256Order = elliptic.P256().Params().N

// isHigh reports whether s, the second half of an ECDSA signature, is over n / 2.
func isHigh(sig []byte) bool {
	s := new(big.Int).SetBytes(sig[p256Size:])
	return s.Lsh(s, 1).Cmp(p256Order) > 0
}

// lower replaces s by n - s if s is high.
func lower(sig []byte) {
	if isHigh(sig) {
		s := new(big.Int).SetBytes(sig[p256Size:])
		s.Sub(p256Order, s).FillBytes(sig[p256Size:])
	}
}
