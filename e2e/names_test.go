package e2e

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"openshell-vm/drivers/vm/hypervisor/all"
)

// namedIn are the places where a hypervisor's name may be a word of its own.
var namedIn = []string{
	"drivers/vm/hypervisor",             // their folders, and the list of them
	"drivers/vm/jail/jailtest/listed",   // what a test compares their jails with
	"gateway/api/environment.go",        // what users may ask for
	"krun", "cmd/openshell-krun", "e2e", // libkrun's own, and tests
}

// TestHypervisorsAreNamedInTheirFolders checks that no other code decides by a hypervisor's
// name. What others have to know of a hypervisor is a method, a trait or one of its Tools.
func TestHypervisorsAreNamedInTheirFolders(t *testing.T) {
	known, err := all.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, h := range known {
		names = append(names, h.Name())
	}
	seen := 0
	err = filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		file, _ := filepath.Rel("..", path)
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".." || d.Name() == "testdata"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go"):
			return nil
		}
		where := named(t, path, names)
		if slices.ContainsFunc(namedIn, func(part string) bool { return below(file, part) }) {
			seen += len(where)
			return nil
		}
		for _, at := range where {
			t.Errorf("%s: it names a hypervisor", at)
		}
		return nil
	})
	if err != nil || seen < len(names) {
		t.Errorf("%v; %d names are where they may be", err, seen)
	}
}

// named returns the places in a file where a string is one of the names.
func named(t *testing.T, path string, names []string) (where []token.Position) {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if text, err := strconv.Unquote(lit.Value); err == nil && slices.Contains(names, text) {
				where = append(where, set.Position(lit.Pos()))
			}
		}
		return true
	})
	return where
}
