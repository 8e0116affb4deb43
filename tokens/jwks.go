package tokens

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"time"
)

// jwk is one key of a set; which fields it has depends on its type.
type jwk struct {
	Type      string `json:"kty"`
	Curve     string `json:"crv,omitempty"`
	X         string `json:"x,omitempty"`
	Y         string `json:"y,omitempty"`
	N         string `json:"n,omitempty"`
	E         string `json:"e,omitempty"`
	KeyID     string `json:"kid"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
}

// JWKS returns the JSON Web Key Set (RFC 7517, 7518, 8037) of the keys that verify at the
// time now or will sign later, in List's order. It has only public keys.
func (k *Keys) JWKS(now time.Time) ([]byte, error) {
	set := struct {
		Keys []jwk `json:"keys"`
	}{Keys: []jwk{}}
	r := k.now()
	for _, info := range r.infos(now) {
		e, _ := r.find(info.ID)
		if e.over(now) {
			continue
		}
		key, err := publicJWK(e.key.Public())
		if err != nil {
			return nil, err
		}
		key.KeyID, key.Use, key.Algorithm = e.ID, "sig", string(e.Algorithm)
		set.Keys = append(set.Keys, key)
	}
	return json.Marshal(set)
}

func publicJWK(key crypto.PublicKey) (jwk, error) {
	encode := base64.RawURLEncoding.EncodeToString
	switch key := key.(type) {
	case ed25519.PublicKey:
		return jwk{Type: "OKP", Curve: "Ed25519", X: encode(key)}, nil
	case *ecdsa.PublicKey:
		point, err := key.Bytes() // a byte that says "uncompressed", then both coordinates in full length
		if err != nil {
			return jwk{}, fmt.Errorf("encode a public key: %w", err)
		}
		return jwk{Type: "EC", Curve: "P-256", X: encode(point[1 : 1+p256Size]), Y: encode(point[1+p256Size:])}, nil
	case *rsa.PublicKey:
		return jwk{Type: "RSA", N: encode(key.N.Bytes()), E: encode(big.NewInt(int64(key.E)).Bytes())}, nil
	}
	return jwk{}, fmt.Errorf("encode a public key: unknown type %T", key)
}
