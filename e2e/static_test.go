//go:build e2e

package e2e

import (
	"crypto/ed25519"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// TestStaticToken: a container has its user's own token, which follows the user's file. What is in
// the file is taken only while it is good: what was good last stays, and nothing starts with a token
// that is over.
func TestStaticToken(t *testing.T) {
	eachContainerEngine(t, func(t *testing.T, w *world, e engine) {
		_, key, err := ed25519.GenerateKey(nil)
		w.must(err)
		file := filepath.Join(w.home, "own.jwt")
		write := func(life time.Duration) string {
			w.Helper()
			now := time.Now()
			token, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA,
				jwt.MapClaims{"sub": "me", "iat": now.Add(-time.Hour).Unix(), "exp": now.Add(life).Unix()}).SignedString(key)
			w.must(err)
			w.must(os.WriteFile(file+".new", []byte(token+"\n"), 0o600))
			w.must(os.Chown(file+".new", w.uid, w.uid))
			w.must(os.Rename(file+".new", file))
			return token
		}
		inside := func() string {
			return strings.TrimSpace(w.try("exec", "own", "cat", "/etc/openshell/auth/sandbox.jwt").stdout)
		}
		first := write(time.Hour)
		w.run(append(append([]string{"run", "-d", "--name", "own", "--static-token", file}, e.flags...), "--", "sleep", "1000")...)
		if got := inside(); got != first {
			w.Errorf("inside is %.40q…", got)
		}
		if mode := strings.TrimSpace(w.run("exec", "own", "sh", "-c", "echo $OPENSHELL_SANDBOX_AUTH_MODE")); mode != "static-token" {
			w.Errorf("the mode is %q", mode)
		}
		second := write(2 * time.Hour)
		w.eventually("the next token is seen", patience, func() bool { return inside() == second })
		write(-time.Minute)
		w.eventually("ps tells that the file is over", patience, func() bool { return strings.Contains(w.run("ps"), "expired") })
		if got := inside(); got != second {
			w.Errorf("after an expired one inside is %.40q…", got)
		}
		w.run("stop", "-t", "1", "own")
		w.run("start", "own") // what was good last still is
		if got := inside(); got != second {
			w.Errorf("after its start inside is %.40q…", got)
		}
		const short = 4 * time.Second
		over := time.Now().Add(short + time.Second)
		third := write(short)
		w.eventually("a short-lived one is seen", patience, func() bool { return inside() == third })
		w.run("stop", "-t", "1", "own")
		w.eventually("it is over", patience, func() bool { return time.Now().After(over) })
		if r := w.try("start", "own"); r.code == 0 || !strings.Contains(r.stderr, "expired") {
			w.Errorf("a start with an expired token: exit code %d, %s", r.code, r.stderr)
		}
		fourth := write(time.Hour)
		w.run("start", "own")
		if got := inside(); got != fourth {
			w.Errorf("after its last start inside is %.40q…", got)
		}
	})
}
