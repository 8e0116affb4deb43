// Package clustertest stands for a cluster's API server in tests: over TLS on loopback, with real
// keys and signatures. It answers discovery, the key set and TokenReview as Kubernetes does.
package clustertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// Key signs tokens.
type Key struct {
	Algorithm string // ES256, ES384, ES512 or RS256
	ID        string
	Private   crypto.Signer
}

// Server is an API server. Its fields may be changed under Lock.
type Server struct {
	*httptest.Server
	sync.Mutex
	Issuer   string
	KeysURL  string // in the discovery document
	Keys     []Key  // the last one signs; all are in the key set
	Asked    []string
	Password string                                            // the credential that a review needs
	Gone     map[string]bool                                   // uids of pods and ServiceAccounts that were deleted
	Instead  func(w http.ResponseWriter, r *http.Request) bool // answers in place of the server, if it returns true

	tb testing.TB
}

// New starts one.
func New(tb testing.TB, issuer string) *Server {
	s := &Server{tb: tb, Issuer: issuer, Password: "the-gateway", Gone: map[string]bool{}}
	s.Keys = []Key{NewKey(tb, "ES256", "first")}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.answer))
	s.Server.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Server.StartTLS()
	tb.Cleanup(s.Server.Close)
	s.KeysURL = "https://10.96.0.1:6443/openid/v1/jwks" // an address that others have for it
	return s
}

// NewKey makes a key.
func NewKey(tb testing.TB, algorithm, id string) Key {
	tb.Helper()
	curves := map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()}
	if curve := curves[algorithm]; curve != nil {
		private, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			tb.Fatal(err)
		}
		return Key{algorithm, id, private}
	}
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		tb.Fatal(err)
	}
	return Key{algorithm, id, private}
}

// File writes a file, and returns its path.
func (s *Server) File(text string) string {
	s.tb.Helper()
	path := filepath.Join(s.tb.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.tb.Fatal(err)
	}
	return path
}

// CA returns a file with the server's certificate.
func (s *Server) CA() string {
	return s.File(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
}

// Requests returns the paths that were asked for.
func (s *Server) Requests() []string {
	s.Lock()
	defer s.Unlock()
	return slices.Clone(s.Asked)
}

// Set changes something.
func (s *Server) Set(change func()) {
	s.Lock()
	defer s.Unlock()
	change()
}

// Claims are those of a good token for an audience: pod runner-0 of agents/runner.
func (s *Server) Claims(audience string) map[string]any {
	now := time.Now().Unix()
	return map[string]any{"iss": s.Issuer, "aud": []string{audience}, "sub": "system:serviceaccount:agents:runner",
		"iat": now, "nbf": now, "exp": now + 3600, "jti": "06e2b3a2-1c1c-4d2d-9a52-0b8b6a0a3c0f",
		"kubernetes.io": map[string]any{"namespace": "agents", "node": map[string]any{"name": "n1", "uid": "u-node"},
			"pod":            map[string]any{"name": "runner-0", "uid": "u-pod"},
			"serviceaccount": map[string]any{"name": "runner", "uid": "u-sa"}}}
}

// Token signs claims with the last key.
func (s *Server) Token(claims map[string]any) string {
	s.Lock()
	key := s.Keys[len(s.Keys)-1]
	s.Unlock()
	return key.Sign(s.tb, map[string]any{"alg": key.Algorithm, "kid": key.ID}, claims)
}

// With returns claims in which some are others; a value of nil takes one away.
func With(claims map[string]any, changes map[string]any) map[string]any {
	claims = maps.Clone(claims)
	for name, value := range changes {
		if value == nil {
			delete(claims, name)
		} else {
			claims[name] = value
		}
	}
	return claims
}

// Sign signs a header and claims: each is a string, or becomes JSON.
func (k Key) Sign(tb testing.TB, header, claims any) string {
	tb.Helper()
	signed := part(tb, header) + "." + part(tb, claims)
	signature, err := jwt.GetSigningMethod(k.Algorithm).Sign(signed, k.Private)
	if err != nil {
		tb.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func part(tb testing.TB, v any) string {
	tb.Helper()
	text, is := v.(string)
	if !is {
		encoded, err := json.Marshal(v)
		if err != nil {
			tb.Fatal(err)
		}
		text = string(encoded)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(text))
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	s.Lock()
	s.Asked = append(s.Asked, r.URL.Path)
	instead := s.Instead
	s.Unlock()
	if instead != nil && instead(w, r) {
		return
	}
	s.Lock()
	defer s.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		send(w, map[string]any{"issuer": s.Issuer, "jwks_uri": s.KeysURL, "id_token_signing_alg_values_supported": []string{"RS256"}})
	case "/openid/v1/jwks":
		send(w, s.KeySet())
	case "/apis/authentication.k8s.io/v1/tokenreviews":
		s.review(w, r)
	default:
		http.NotFound(w, r)
	}
}

func send(w http.ResponseWriter, body any) { _ = json.NewEncoder(w).Encode(body) }

// KeySet is what the server answers. The caller holds its lock.
func (s *Server) KeySet() (set jose.JSONWebKeySet) {
	for _, k := range s.Keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Private.Public(), KeyID: k.ID, Algorithm: k.Algorithm, Use: "sig"})
	}
	return set
}

// review answers as Kubernetes' API server: it verifies the token, and looks whether its pod and its
// ServiceAccount are still there.
func (s *Server) review(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer "+s.Password {
		w.WriteHeader(http.StatusUnauthorized)
		send(w, map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 401, "reason": "Unauthorized",
			"message": "Unauthorized"})
		return
	}
	var asked struct {
		Spec struct {
			Token     string
			Audiences []string
		}
	}
	if json.NewDecoder(r.Body).Decode(&asked) != nil {
		http.Error(w, "bad", http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusCreated)
	send(w, map[string]any{"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1",
		"status": s.status(asked.Spec.Token, asked.Spec.Audiences)})
}

func (s *Server) status(raw string, audiences []string) map[string]any {
	refused := func(why string) map[string]any {
		return map[string]any{"authenticated": false, "error": "[invalid bearer token, " + why + "]"}
	}
	var c struct {
		jwt.RegisteredClaims
		Kubernetes struct {
			Pod, ServiceAccount struct{ Name, UID string }
		} `json:"kubernetes.io"`
	}
	_, err := jwt.ParseWithClaims(raw, &c, func(t *jwt.Token) (any, error) {
		for _, k := range s.Keys {
			if k.ID == t.Header["kid"] && k.Algorithm == t.Method.Alg() {
				return k.Private.Public(), nil
			}
		}
		return nil, jwt.ErrTokenUnverifiable
	}, jwt.WithIssuer(s.Issuer))
	k := c.Kubernetes
	switch {
	case err != nil:
		return refused(err.Error())
	case s.Gone[k.Pod.UID] || s.Gone[k.ServiceAccount.UID]:
		return refused("service account token has been invalidated")
	}
	heard := slices.DeleteFunc(slices.Clone(audiences), func(a string) bool { return !slices.Contains(c.Audience, a) })
	if len(heard) == 0 {
		return refused("token audiences " + strings.Join(c.Audience, " ") + " is invalid for the target audiences")
	}
	return map[string]any{"authenticated": true, "audiences": heard, "user": map[string]any{
		"username": c.Subject, "uid": k.ServiceAccount.UID,
		"groups": []string{"system:serviceaccounts", "system:authenticated"},
		"extra": map[string]any{"authentication.kubernetes.io/pod-name": []string{k.Pod.Name},
			"authentication.kubernetes.io/pod-uid": []string{k.Pod.UID}}}}
}

// Unsigned returns a token without a signature.
func (Key) Unsigned(tb testing.TB, header, claims any) string {
	return part(tb, header) + "." + part(tb, claims) + "."
}

// SignHS256 signs with the public key as a secret: a verifier that lets the token choose would take it.
func (k Key) SignHS256(tb testing.TB, kid string, claims any) string {
	tb.Helper()
	der, err := x509.MarshalPKIXPublicKey(k.Private.Public())
	if err != nil {
		tb.Fatal(err)
	}
	signed := part(tb, map[string]any{"alg": "HS256", "kid": kid}) + "." + part(tb, claims)
	mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
