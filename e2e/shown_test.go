//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestShownShare has one share in a sandbox of each driver. All see each change of it, also after a
// gateway that died, what share wait tells is what is read inside, and the share stays while
// one of them has it. The VM sees its own share somewhere else.
func TestShownShare(t *testing.T) {
	t.Parallel()
	w := newWorld(t, os.Getuid())
	for _, name := range hostVars {
		w.setenv(name, os.Getenv(name))
	}
	list := slices.DeleteFunc(slices.Clone(engines), func(e engine) bool { return hostVars[e.driver] != "" && os.Getenv(hostVars[e.driver]) == "" })
	if len(list) < len(engines) && os.Getenv("E2E_REQUIRE") == "1" {
		t.Fatal("DOCKER_HOST or CONTAINER_HOST is not set")
	}
	w.run("share", "create", "team")
	var names []string
	for _, e := range list {
		w.start(e.driver, "1h", append([]string{"--share", "team", "--at", "/srv/own"}, e.flags...)...)
		names = append(names, e.driver)
		got := w.run("exec", e.driver, "sh", "-c", "cat $OPENSHELL_SANDBOX_TOKEN_FILE; echo; ls /etc/openshell")
		if !strings.HasPrefix(got, "ey") || !strings.HasSuffix(strings.TrimSpace(got), "shares") {
			t.Errorf("%s: its own share is not where it should be: %q", e.driver, got)
		}
	}
	change := func(text string) {
		t.Helper()
		if r := w.tryWith(text, "share", "put", "--wait", "--wait-timeout", "1m", "team", "note=-"); r.code != 0 {
			t.Errorf("share put --wait: %s", r.stderr)
		}
		for _, name := range names {
			if got := w.run("exec", name, "cat", "/etc/openshell/shares/team/note"); got != text {
				t.Errorf("%s reads %q, not %q", name, got, text)
			}
			if r := w.try("exec", name, "sh", "-c", "echo x > /etc/openshell/shares/team/note"); r.code == 0 {
				t.Errorf("%s can write to it", name)
			}
		}
	}
	for i := range 3 {
		change(fmt.Sprintf("%d at %v", i, time.Now()))
	}
	w.killGateway()
	change("after the gateway died")
	if r := w.try("share", "rm", "team"); r.code == 0 || !strings.Contains(r.stderr, "in use by") {
		t.Errorf("a share that is in use is removed: %+v", r)
	}
	for _, name := range names {
		w.run("rm", "-f", name)
	}
	w.run("share", "rm", "team")
}
