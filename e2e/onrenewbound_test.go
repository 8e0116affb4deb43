//go:build e2e

package e2e

import (
	"slices"
	"strings"
	"testing"

	"openshell-vm/gateway/api"
)

// TestOnRenewIsBounded: a command that hangs, floods or fails is ended and told of, holds up no
// renewal, and leaves nothing running inside. The next one is well.
func TestOnRenewIsBounded(t *testing.T) {
	eachEngine(t, func(t *testing.T, w *world, e engine) {
		const command = "sh -c 'case $(cat /etc/openshell/auth/do) in hang) exec sleep 424242;; flood) exec yes;; fail) exit 3;; esac'"
		w.run(slices.Concat([]string{"run", "-d", "--name", "box", "--ttl", "1h", "--on-renew", command}, e.flags, []string{"--", "sleep", "1000000"})...)
		do := func(what string) { w.run("share", "put", "box", "do="+w.file(what)) }
		left := func(program string) bool { return strings.Contains(w.run("exec", "box", "ps"), program) }
		for _, c := range []struct{ what, program, told string }{
			{"fail", "", "its command exited with 3"},
			{"flood", "yes", "its command printed more than 1024 KiB, and was killed"},
			{"hang", "sleep 424242", "its command did not end within 30s, and was killed"},
		} {
			do(c.what)
			if c.what == "hang" {
				w.eventually("it hangs", patience, func() bool { return left(c.program) })
				w.run("token", "rotate", "box")
				if r := w.try("share", "wait", "--timeout", "1m", "box"); r.code != 0 {
					t.Errorf("a renewal while it hangs: %s", r.stderr)
				}
				do("well") // for this and for what was renewed meanwhile it runs once more
				w.eventually("that it was killed is told", patience, func() bool {
					return strings.Contains(w.run("events", "--filter", "name=box"), c.told)
				})
			} else {
				w.shows("box", "on-renew FAILED: "+c.told)
			}
			if c.program != "" {
				w.eventually("what was killed is gone", patience, func() bool { return !left(c.program) })
			}
		}
		w.eventually("the next one is well", patience, func() bool {
			s := w.sandbox("box")
			return s.OnRenew.Problem == "" && s.OnRenew.Generation == s.Token.Generation
		})
		if s := w.sandbox("box"); s.State != api.StateRunning || s.Token.Failures != 0 {
			t.Errorf("%s, %+v", s.State, s.Token)
		}
	})
}
