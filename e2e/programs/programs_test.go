//go:build e2e

package programs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"openshell-vm/e2e/federation/provider"
)

// recipes are the page's sections, what a test has in place of some of their words, and the test.
var recipes = []struct {
	title     string
	otherwise func(w *world) []string
	test      func(w *world, r *recipe)
	vm        bool // in a VM, too, in any run
}{
	{"git", func(w *world) []string {
		return []string{"gh auth token,every=30m", w.fetch("git") + ",every=" + w.rates.every}
	}, (*world).testGit, false},
	{"ssh", func(*world) []string { return []string{"User deploy", "User root"} }, (*world).testSSH, false},
	{"kubectl", func(w *world) []string { return []string{"aws eks get-token --cluster-name prod", w.fetch("kube")} }, (*world).testKubectl, false},
	{"AWS", func(w *world) []string {
		return []string{"aws configure export-credentials --profile deploy", w.fetch("aws")}
	}, (*world).testAWS, false},
	{"PHP", func(*world) []string { return nil }, (*world).testPHP, true},
	{"Node", func(w *world) []string {
		if w.driver == "vm" {
			return nil
		}
		return []string{" --inotify", ""} // which containers refuse
	}, (*world).testNode, true},
}

// TestRecipes runs each of the page's recipes in a container of each engine, and PHP's and Node's in a
// VM. If it is to take long, all are in a VM, too: one guest at a time, for they are emulated.
func TestRecipes(t *testing.T) {
	programs := needed(t)
	authority, err := provider.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/var/tmp", "op-tree")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	tree := filepath.Join(dir, "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	makeTree(t, programs, tree, authority)
	for _, p := range places {
		guest := p.driver == "vm"
		t.Run(p.driver, func(t *testing.T) {
			if !guest || !isLong() {
				t.Parallel() // most of the time is spent waiting for credentials to end
			}
			load(t, p, tree)
			w := newWorld(t, p, tree, authority)
			for _, c := range recipes {
				if guest && !c.vm && !isLong() {
					continue // git's takes minutes, the others much of the processor
				}
				t.Run(strings.ToLower(c.title), func(t *testing.T) {
					if !guest {
						t.Parallel()
					}
					w := w.as(t)
					if guest {
						t.Cleanup(w.empty)
					}
					c.test(w, page(t, c.title, append(c.otherwise(w), "--image agent", strings.Join(w.flags, " "))...))
				})
			}
		})
	}
}
