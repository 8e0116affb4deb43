//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
)

// follows has a running sandbox show a file of the host and the output of a command: each change
// gets inside, a failure takes nothing away, and ps tells of it.
func (w *world) follows(name string) {
	w.Helper()
	dir := w.TempDir()
	ca, out := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "out")
	write := func(path, text string) {
		w.Helper()
		w.must(os.WriteFile(path+".new", []byte(text), 0o600))
		w.must(os.Rename(path+".new", path))
	}
	inside := func(file string) string {
		return w.try("exec", name, "cat", "/etc/openshell/auth/"+file).stdout
	}
	write(ca, "one")
	write(out, "gho_first")
	w.run("share", "set", name, "--file", "ssl/ca.pem="+ca+",mode=0400", "--exec", "gh-token=cat "+out+",every=10s")
	if a, b := inside("ssl/ca.pem"), inside("gh-token"); a != "one" || b != "gho_first" {
		w.Errorf("at first it sees %q and %q", a, b)
	}
	write(ca, "two")
	write(out, "gho_second")
	w.eventually("both changes are seen inside", patience, func() bool { return inside("ssl/ca.pem") == "two" && inside("gh-token") == "gho_second" })
	w.must(os.Remove(ca))
	w.eventually("ps tells that the file is gone", patience, func() bool { return strings.Contains(w.run("ps"), "ssl/ca.pem is not renewed") })
	if got := inside("ssl/ca.pem"); got != "two" {
		w.Errorf("without its source the file holds %q", got)
	}
	if got := strings.TrimSpace(w.run("exec", name, "stat", "-L", "-c", "%a", "/etc/openshell/auth/ssl/ca.pem")); got != "400" {
		w.Errorf("its mode is %s", got)
	}
	w.run("share", "set", name, "--unset", "ssl/ca.pem", "--unset", "gh-token")
	if r := w.try("exec", name, "cat", "/etc/openshell/auth/gh-token"); r.code == 0 {
		w.Errorf("what was taken away is still there: %q", r.stdout)
	}
}
