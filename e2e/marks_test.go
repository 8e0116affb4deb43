package e2e

import (
	"bufio"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The marks of a room that is outgrown, without tests: what is over one has more than one idea in
// it, and is parted in the change that brings it there.
const (
	mostMethods      = 40 // of a type
	mostPackageLines = 2500
	mostFileLines    = 400
	mostFuncLines    = 60
	mostColumns      = 140 // a tab is 4
)

// outgrown are those that are over a mark on purpose. Each has a page in docs/decisions.
var outgrown = map[string]bool{"krun.Context": true} // 0017: one method for each call of libkrun

// TestMarks: no type, package, file, function or line outgrows its mark.
func TestMarks(t *testing.T) {
	packages, methods := map[string]int{}, map[string]int{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel("..", path)
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && name != ".":
			return fs.SkipDir
		case !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		lines := measured(t, path, name)
		if lines > mostFileLines {
			t.Errorf("%s has %d lines, at most %d", name, lines, mostFileLines)
		}
		packages[filepath.Dir(name)] += lines
		functions(t, path, name, methods)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) < 50 || len(methods) < 100 {
		t.Fatalf("only %d packages and %d types were seen", len(packages), len(methods))
	}
	for name, lines := range packages {
		if lines > mostPackageLines {
			t.Errorf("%s has %d lines without tests, at most %d", name, lines, mostPackageLines)
		}
	}
	for name, n := range methods {
		if n > mostMethods != outgrown[name] {
			t.Errorf("%s has %d methods, the mark is %d", name, n, mostMethods)
		}
	}
}

// measured returns a file's lines, and reports the long ones.
func measured(t *testing.T, path, name string) (lines int) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for text := bufio.NewScanner(file); text.Scan(); {
		lines++
		if n := len([]rune(strings.ReplaceAll(text.Text(), "\t", "    "))); n > mostColumns {
			t.Errorf("%s:%d has %d columns, at most %d", name, lines, n, mostColumns)
		}
	}
	return lines
}

// functions reports long functions, and counts the methods of each type.
func functions(t *testing.T, path, name string, methods map[string]int) {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		if n := set.Position(f.End()).Line - set.Position(f.Pos()).Line + 1; n > mostFuncLines {
			t.Errorf("%s: %s has %d lines, at most %d", name, f.Name.Name, n, mostFuncLines)
		}
		if f.Recv == nil {
			continue
		}
		of := f.Recv.List[0].Type
		if star, ok := of.(*ast.StarExpr); ok {
			of = star.X
		}
		if id, ok := of.(*ast.Ident); ok {
			methods[filepath.Dir(name)+"."+id.Name]++
		}
	}
}
