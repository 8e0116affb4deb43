package krun

import (
	_ "embed"
	"errors"
	"strings"
	"testing"
)

//go:embed testdata/symbols.txt
var symbolsTable string

// TestSymbols compares the package with the whole C API. Each function has to be bound
// with the right version or ignored with a reason, and no others may be.
func TestSymbols(t *testing.T) {
	boundSince, boundUntil := map[string]string{}, map[string]string{}
	for _, s := range Bound() {
		boundSince[s.Name], boundUntil[s.Name] = s.Since, s.Until
	}
	ignored := Ignored()
	listed := 0
	for line := range strings.Lines(symbolsTable) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		name, since, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			t.Fatalf("malformed line %q", line)
		}
		since, until, _ := strings.Cut(since, " ")
		listed++
		got, isBound := boundSince[name]
		reason, isIgnored := ignored[name]
		switch {
		case isBound == isIgnored:
			t.Errorf("%s: bound %v, ignored %v", name, isBound, isIgnored)
		case isBound && since == "-":
			t.Errorf("%s is newer than 1.19.0 and bound", name)
		case isBound && got != since:
			t.Errorf("%s: since %s here, %s in the header", name, got, since)
		case isBound && boundUntil[name] != until:
			t.Errorf("%s: until %q here, %q in the table", name, boundUntil[name], until)
		case isIgnored && len(reason) < 10:
			t.Errorf("%s is ignored without a reason", name)
		}
	}
	if listed != len(boundSince)+len(ignored) {
		t.Errorf("the API has %d functions, %d are bound and %d ignored", listed, len(boundSince), len(ignored))
	}
}

func TestOlderThan(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"1.9.0", "1.10.0", true}, {"1.10.0", "1.9.5", false}, {"1.17.0", "1.17.3", true},
		{"0.1.8", "1.3.0", true}, {"1.18.0", "1.18.0", false},
	} {
		if got := olderThan(test.a, test.b); got != test.want {
			t.Errorf("%s older than %s: %v", test.a, test.b, got)
		}
	}
}

// TestNoLibrary opens a missing library. The error is the same with and without cgo.
func TestNoLibrary(t *testing.T) {
	lib, err := Open(Options{Path: "/nonexistent/libkrun.so.1", NoFirmware: true})
	var kerr *Error
	if lib != nil || !errors.As(err, &kerr) || !errors.Is(err, ErrNoLibrary) {
		t.Errorf("%v, %v", lib, err)
	}
}
