//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"openshell-vm/gateway/api"
)

// TestProject goes with up and down through the life of a project: up twice, a stop, a change by a
// person and one by the sandbox, a change that can't run, an end.
func TestProject(t *testing.T) {
	eachEngine(t, func(t *testing.T, w *world, e engine) {
		dir := filepath.Join(w.home, "project")
		w.must(os.Mkdir(dir, 0o755))
		file := filepath.Join(dir, "openshell.toml")
		top := fmt.Sprintf("driver = %q\n", e.driver)
		if len(e.flags) > 0 {
			top += fmt.Sprintf("image = %q\n", engineImage)
		}
		write := func(rest string) { w.Helper(); w.must(os.WriteFile(file, []byte(top+rest), 0o644)) }
		const runs = "command = ['sh', '-c', 'echo ready >/work/ready; sleep 1000000']\nmount = ['.:/work:rw']\n"
		up := func(args ...string) result { return w.try(append([]string{"up", "-f", dir}, args...)...) }
		only := func(code int, r result) api.Sandbox {
			w.Helper()
			if r.code != code {
				w.Fatalf("up: exit code %d, wanted %d\n%s%s", r.code, code, r.stdout, r.stderr)
			}
			if all := strings.Fields(w.run("ps", "-aq")); len(all) != 1 {
				w.Fatalf("there are %d sandboxes: %q", len(all), all)
			}
			s := w.sandbox("project")
			if s.State != api.StateRunning {
				w.Fatalf("it is %s: %s", s.State, s.Reason)
			}
			return s
		}

		write(runs + "env = { WHAT = 'first' }\npublish = ['8080']\n")
		first := only(0, up("-d"))
		w.eventually("the workload writes to the directory", patience, func() bool { _, err := os.Stat(filepath.Join(dir, "ready")); return err == nil })
		if again := only(0, up("-d")); again.ID != first.ID || again.StartedAt != first.StartedAt {
			w.Errorf("another up made %s of %s", again.ID, first.ID)
		}
		w.run("stop", "-t", "1", "project")
		if again := only(0, up("-d")); again.ID != first.ID || again.Token.Generation <= first.Token.Generation {
			w.Errorf("after a stop there is %s with generation %d, of %s with %d", again.ID, again.Token.Generation, first.ID, first.Token.Generation)
		}

		// What the sandbox writes there is not done.
		planted := filepath.Join(w.home, "planted")
		w.run("exec", "project", "sh", "-c", fmt.Sprintf(`sed -i '1i exec = { x = "touch %s" }' /work/openshell.toml`, planted))
		if s := only(125, up("-d")); s.ID != first.ID {
			w.Error("its own change made the sandbox anew")
		}
		write(runs + "network = 'none'\n")
		only(125, up("-d"))
		if _, err := os.Stat(planted); err == nil {
			w.Error("a command that the sandbox wrote was run")
		}

		// What a person agrees to makes it anew; what can't run leaves it.
		write(runs + "env = { WHAT = 'second' }\npublish = ['8080']\n")
		second := only(0, up("-d", "--trust"))
		if what := w.run("exec", "project", "sh", "-c", "echo $WHAT"); second.ID == first.ID || what != "second\n" {
			w.Errorf("after a change there is %s of %s, with %q", second.ID, first.ID, what)
		}
		write("command = ['/no/such/program']\nmount = ['.:/work:rw']\n")
		if s := only(127, up("-d", "--trust")); s.ID != second.ID {
			w.Error("a command that there is not took the sandbox away")
		}
		w.run("down", "-f", dir, "-t", "1")
		if left := w.run("ps", "-aq"); left != "" {
			w.Errorf("down left %q", left)
		}

		// Attached it is the workload, each time with what it prints then.
		write("command = ['sh', '-c', 'echo hello; exit 3']\n")
		for range 2 {
			if r := up("--trust"); r.code != 3 || r.stdout != "hello\n" {
				w.Errorf("attached: exit code %d, %q, %q", r.code, r.stdout, r.stderr)
			}
		}
		if r := w.try("run", "--rm", "--project", dir, "--", "sh", "-c", "echo other"); r.code != 0 || r.stdout != "other\n" {
			w.Errorf("run: exit code %d, %q, %q", r.code, r.stdout, r.stderr)
		}
		w.run("down", "-f", file)
	})
}
