package krun

import (
	"bytes"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestStub checks that the package has the same API with and without cgo. Everything
// exported is in files without a build constraint. The stub may only declare what the
// files with cgo declare, with the same types.
func TestStub(t *testing.T) {
	bound, stub := map[string]string{}, map[string]string{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") || !constrained(t, name) {
			continue
		}
		into := bound
		if name == "stub.go" {
			into = stub
		}
		for symbol, declared := range declarations(t, name) {
			if ast.IsExported(symbol) {
				t.Errorf("%s exports %s, so other builds may lack it", name, symbol)
			}
			into[symbol] = declared
		}
	}
	if len(stub) == 0 || len(bound) < len(stub) {
		t.Fatalf("%d declarations in the stub, %d with cgo", len(stub), len(bound))
	}
	for symbol, declared := range stub {
		if bound[symbol] != declared {
			t.Errorf("the stub has %s as %q, the binding as %q", symbol, declared, bound[symbol])
		}
	}
}

func constrained(t *testing.T, name string) bool {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(data), "\n")
	return constraint.IsGoBuild(first)
}

// declarations returns a file's top-level names. The value is a function's type, or the
// kind of another declaration.
func declarations(t *testing.T, name string) map[string]string {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				var text bytes.Buffer
				if err := printer.Fprint(&text, set, d.Type); err != nil {
					t.Fatal(err)
				}
				found[d.Name.Name] = text.String()
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					found[s.Name.Name] = "type"
				case *ast.ValueSpec:
					for _, n := range s.Names {
						found[n.Name] = d.Tok.String()
					}
				}
			}
		}
	}
	return found
}
