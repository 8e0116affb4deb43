//go:build e2e

package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"openshell-vm/gateway/api"
)

// askedAudience is whom tokens are for that a sandbox asks for.
const askedAudience = "https://asked.example.com"

// asks has a sandbox that was allowed askedAudience ask its gateway from inside: each answer is
// another token, good for this audience; for others, and with another sandbox's token, it is told
// why it gets none. The socket outlives a gateway that is killed.
func (w *world) asks(name, strangersShare string) {
	w.Helper()
	times := asksOf(w.sandbox(name).Driver)
	var all []string
	began := time.Now()
	for len(all) < times { // not all in one call: in an emulated guest a thousand take longer than a call may
		n := min(100, times-len(all))
		script := fmt.Sprintf("i=0; while [ $i -lt %d ]; do /run/openshell/openshell-token --timeout 1m %s || exit; i=$((i+1)); done", n, askedAudience)
		all = append(all, strings.Fields(w.run("exec", name, "sh", "-c", script))...)
	}
	w.Logf("asked %d times in %v", times, time.Since(began).Round(time.Millisecond))
	ids := map[string]bool{}
	for _, token := range all {
		ids[idOf(w, token)] = true
	}
	if len(all) != times || len(ids) != times {
		w.Errorf("%d tokens with %d ids were asked for %d times", len(all), len(ids), times)
	}
	var verdict api.VerifyResult
	answer := w.tryWith(all[len(all)-1], "token", "verify", "-o", "json", "--audience", askedAudience)
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
	w.knows(name, "")
}

// asksOf is how often a sandbox asks: a thousand times only on request. In an emulated guest a program
// takes long to begin.
func asksOf(driver string) int {
	switch {
	case os.Getenv("OPENSHELL_E2E_ASKS") != "":
		return 1000
	case driver == "vm":
		return 10
	default:
		return 200
	}
}

// knows asks from inside whose tokens are: the file's is the sandbox's, and the old one, unless
// that is "", is refused once the leeway is over, because it has expired.
func (w *world) knows(name, old string) {
	w.Helper()
	id := w.sandbox(name).ID
	w.eventually("whoami refuses the old token", patience, func() bool {
		var own, of struct {
			Status    int
			Challenge string
			SandboxID string `json:"sandbox_id"`
			Failed    string
		}
		r := w.tryWith(old, "exec", "-i", name, "/witness/reader", "-whoami")
		answers := json.NewDecoder(strings.NewReader(r.stdout))
		if err := answers.Decode(&own); err != nil || own.Status != 200 || own.SandboxID != id {
			w.Fatalf("whoami with the file's token: %+v, %v, %s", own, err, r.stderr)
		}
		if old == "" {
			return true
		}
		if err := answers.Decode(&of); err != nil || of.Status != 200 && of.Status != 401 {
			w.Fatalf("whoami with an old token: %+v, %v", of, err)
		}
		if of.Status == 401 && !(strings.Contains(of.Challenge, `error="invalid_token"`) && strings.Contains(of.Challenge, "expired")) {
			w.Errorf("the old token is refused with %q", of.Challenge)
		}
		return of.Status == 401
	})
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
