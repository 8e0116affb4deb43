//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"openshell-vm/gateway/api"
)

// generationInside prints the generation that a program reads.
const generationInside = `grep -o 'generation.: *[0-9]*' /etc/openshell/auth/metadata.json | grep -o '[0-9]*$'`

// renewals is how often each sandbox here is renewed. A program in an emulated guest takes a second.
func renewals(e engine) int {
	if e.driver == "vm" {
		return 4
	}
	return 10
}

// TestOnRenew: under each driver the main process gets its signal, or a command is run as the
// workload's user, for each new generation. What it reads then is never an older one.
func TestOnRenew(t *testing.T) {
	eachEngine(t, func(t *testing.T, w *world, e engine) {
		loop := "told() { echo got $(" + generationInside + "); }; trap told HUP; echo started; while :; do sleep 1000000 & wait; done"
		w.run(append(append([]string{"run", "-d", "--name", "hup", "--ttl", "1h", "--on-renew", "HUP"}, e.flags...), "--", "sh", "-c", loop)...)
		w.eventually("it runs", patience, func() bool { return strings.Contains(w.run("logs", "hup"), "started") })
		for i := range renewals(e) {
			w.run("token", "rotate", "hup")
			n := w.sandbox("hup").Token.Generation
			w.eventually("it has read the generation that it was told of", patience, func() bool {
				got := generationsIn(w.run("logs", "hup"))
				if len(got) > i+1 {
					t.Fatalf("%d renewals, and it was told of %v", i+1, got)
				}
				if len(got) == i+1 && got[i] != fmt.Sprint(n) {
					t.Fatalf("generation %d is new, and it reads %v", n, got)
				}
				return len(got) == i+1
			})
		}
		w.run("rm", "-f", "hup")
		w.onRenewCommand(e)
	})
}

// onRenewCommand is the same with a command, then with one that fails.
func (w *world) onRenewCommand(e engine) {
	w.Helper()
	command := "sh -c '" + `echo "got $(` + strings.ReplaceAll(generationInside, "'", `"`) + `) $(id -u)" >>/tmp/told` + "; test ! -e /tmp/fail'"
	w.run(append(append([]string{"run", "-d", "--name", "cmd", "--ttl", "1h", "--on-renew", command, "--user", "1000"}, e.flags...),
		"--", "sleep", "1000000")...)
	told := func() string { return w.try("exec", "cmd", "cat", "/tmp/told").stdout }
	if told() != "" {
		w.Errorf("it is told of the generation that it starts with: %s", told())
	}
	for i := range renewals(e) {
		w.run("token", "rotate", "cmd")
		n := w.sandbox("cmd").Token.Generation
		w.eventually("the command has run", patience, func() bool { return len(generationsIn(told())) > i })
		if got := generationsIn(told()); len(got) != i+1 || got[i] != fmt.Sprint(n) {
			w.Fatalf("generation %d is new, and the command reads %v", n, got)
		}
	}
	if text := told(); strings.Count(text, " 1000\n") != renewals(e) {
		w.Errorf("it runs not as the workload's user: %s", text)
	}
	w.run("exec", "cmd", "touch", "/tmp/fail")
	w.run("token", "rotate", "cmd")
	w.shows("cmd", "on-renew FAILED: its command exited with 1")
	w.run("exec", "cmd", "rm", "/tmp/fail")
	began := time.Now()
	w.run("token", "rotate", "cmd")
	w.eventually("the next one is well", patience, func() bool { s := w.sandbox("cmd").OnRenew; return s != nil && s.Problem == "" })
	w.Logf("%s: the last one was told %v after it was asked for", e.driver, time.Since(began).Round(time.Millisecond))
	if s := w.sandbox("cmd"); s.State != api.StateRunning || s.Token.Failures != 0 {
		w.Errorf("%+v", s.Token)
	}
}

// generationsIn are the numbers in lines "got N …".
func generationsIn(text string) (all []string) {
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "got" {
			all = append(all, words[1])
		}
	}
	return all
}
