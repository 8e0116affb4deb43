//go:build e2e && takeover

package e2e

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// oldCommit is the version that CHANGELOG.md counts from.
const oldCommit = "99b2efc"

// oldPrograms builds the programs of the commit OLD from the history. It returns their directory
// and the version that they report.
func oldPrograms(t *testing.T) (dir, version string) {
	t.Helper()
	version = cmp.Or(os.Getenv("OLD"), oldCommit)
	if exec.Command("git", "rev-parse", "--verify", "--quiet", version+"^{commit}").Run() != nil {
		t.Fatalf("the history has no commit %s, of which the old programs are built: git fetch --unshallow may bring it", version)
	}
	base, err := os.MkdirTemp("/var/tmp", "oe-old")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	tree, dir := filepath.Join(base, "tree"), filepath.Join(base, "bin")
	build(t, nil, "..", "git", "archive", "--prefix=tree/", "--output="+tree+".tar", version)
	build(t, nil, base, "tar", "-xf", tree+".tar")
	goBuild := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version=" + version, "-o", dir + "/"}
	for cgo, programs := range map[string]string{"0": "vm gateway vmm init", "1": "krun"} { // as in the Makefile
		args := goBuild
		for _, p := range strings.Fields(programs) {
			args = append(args[:len(args):len(args)], "./cmd/openshell-"+p)
		}
		build(t, []string{"CGO_ENABLED=" + cgo}, tree, "go", args...)
	}
	if err := os.Chmod(base, 0o755); err != nil { // an ordinary user runs them, too
		t.Fatal(err)
	}
	return dir, version
}

func build(t *testing.T, env []string, dir, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
}
