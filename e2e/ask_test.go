//go:build e2e

package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"syscall"

	"openshell-vm/gateway/api"
)

// askedAudience is whom tokens are for that a sandbox asks for.
const askedAudience = "https://asked.example.com"

// asks has a sandbox that was allowed askedAudience ask its gateway from inside: each answer is
// another token, good for this audience; for others, and with another sandbox's token, it is told
// why it gets none. The socket outlives a gateway that is killed.
func (w *world) asks(name, strangersShare string) {
	w.Helper()
	const times = 10
	script := fmt.Sprintf("i=0; while [ $i -lt %d ]; do /run/openshell/openshell-token %s || exit; i=$((i+1)); done", times, askedAudience)
	all := strings.Fields(w.run("exec", name, "sh", "-c", script))
	ids := map[string]bool{}
	for _, token := range all {
		ids[idOf(w, token)] = true
	}
	if len(all) != times || len(ids) != times {
		w.Errorf("%d tokens with %d ids were asked for %d times", len(all), len(ids), times)
	}
	var verdict api.VerifyResult
	answer := w.tryWith(all[0], "token", "verify", "-o", "json", "--audience", askedAudience)
	if err := json.Unmarshal([]byte(answer.stdout), &verdict); err != nil || !verdict.Valid {
		w.Errorf("an asked token: %+v, %v, %s", verdict, err, answer.stderr)
	}
	refused := func(what, stdin, reason string, command string) {
		w.Helper()
		r := w.tryWith(stdin, "exec", "-i", name, "sh", "-c", command)
		if r.code != 1 || r.stdout != "" || !strings.Contains(r.stderr, reason) {
			w.Errorf("%s: exit code %d, %q, %q", what, r.code, r.stdout, r.stderr)
		}
	}
	refused("another audience", "", "no token for this audience was allowed", "/run/openshell/openshell-token https://other.example.com")
	refused("another sandbox's token", w.token(strangersShare), "another sandbox",
		"cat >/tmp/t; OPENSHELL_SANDBOX_TOKEN_FILE=/tmp/t /run/openshell/openshell-token "+askedAudience)

	before := w.gatewayPID()
	w.must(syscall.Kill(before, syscall.SIGKILL))
	w.eventually("another gateway runs", patience, func() bool { pid := w.gatewayPID(); return pid != 0 && pid != before })
	if again := strings.Fields(w.run("exec", name, "/run/openshell/openshell-token", "--timeout", "1m", askedAudience)); len(again) != 1 || ids[idOf(w, again[0])] {
		w.Errorf("after the gateway was killed: %d tokens", len(again))
	}
}

// idOf returns a token's jti, unverified.
func idOf(w *world, token string) string {
	w.Helper()
	parts := strings.Split(token, ".")
	var claims struct{ JTI string }
	if len(parts) == 3 {
		text, err := base64.RawURLEncoding.DecodeString(parts[1])
		w.must(err)
		w.must(json.Unmarshal(text, &claims))
	}
	if claims.JTI == "" {
		w.Fatal("what was asked for is no token with an id")
	}
	return claims.JTI
}
