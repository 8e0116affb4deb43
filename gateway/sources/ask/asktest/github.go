// Package asktest has servers for tests. Each runs on the loopback and judges what it is asked as
// the one would that it stands in for.
package asktest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The app that a GitHub here knows.
const (
	App          = "12345"
	Installation = 678
)

// GitHub is a GitHub Enterprise Server as far as it makes tokens of an app's installation. It
// takes no assertion that GitHub would refuse. Its methods may be called at any time.
type GitHub struct {
	URL string // where people would see it

	mu     sync.Mutex
	key    *rsa.PrivateKey
	asked  []string
	signed []string
	answer func(w http.ResponseWriter)
}

// NewGitHub runs one until the test ends. answer answers who has proved to be the app; it may be
// called concurrently.
func NewGitHub(t testing.TB, answer func(w http.ResponseWriter)) *GitHub {
	g := &GitHub{answer: answer}
	g.NewKey(t)
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	g.URL = server.URL
	return g
}

// NewKey gives the app another private key, and returns that as GitHub's page does. The former one
// is good no more.
func (g *GitHub) NewKey(t testing.TB) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.key = key
	return g.pem()
}

// Key is the app's private key, in PEM form.
func (g *GitHub) Key() []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.pem()
}

func (g *GitHub) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(g.key)})
}

// Answer has it answer by another function from now on.
func (g *GitHub) Answer(answer func(w http.ResponseWriter)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answer = answer
}

// Asked returns, for each question of the app, the repositories in it with blanks between, and the
// assertions that it came with.
func (g *GitHub) Asked() (repositories, assertions []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asked, g.signed
}

// ServeHTTP is GitHub's API.
func (g *GitHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	key, answer := &g.key.PublicKey, g.answer
	g.mu.Unlock()
	claims := jwt.RegisteredClaims{}
	signed := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	_, err := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer(App), jwt.WithIssuedAt(), jwt.WithExpirationRequired()).
		ParseWithClaims(signed, &claims, func(*jwt.Token) (any, error) { return key, nil })
	if err != nil || claims.ExpiresAt.Sub(claims.IssuedAt.Time) > 10*time.Minute || claims.IssuedAt.After(time.Now().Add(-30*time.Second)) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if r.Method != http.MethodPost || r.URL.Path != fmt.Sprintf("/api/v3/app/installations/%d/access_tokens", Installation) {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	var wanted struct{ Repositories []string }
	if err := json.NewDecoder(r.Body).Decode(&wanted); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	g.mu.Lock()
	g.asked, g.signed = append(g.asked, strings.Join(wanted.Repositories, " ")), append(g.signed, signed)
	g.mu.Unlock()
	answer(w)
}

// Give answers with a token for these repositories, each with its owner.
func Give(w http.ResponseWriter, token string, expires time.Time, repositories ...string) {
	type repository struct {
		FullName string `json:"full_name"`
	}
	list := []repository{}
	for _, name := range repositories {
		list = append(list, repository{name})
	}
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "expires_at": expires.UTC().Truncate(time.Second),
		"permissions": map[string]string{}, "repositories": list})
}
