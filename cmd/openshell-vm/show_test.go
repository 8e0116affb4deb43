package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"openshell-vm/gateway/api"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func TestFreshness(t *testing.T) {
	token := func(left time.Duration, failures int) api.Token {
		return api.Token{ExpiresAt: noon.Add(left), Failures: failures, LastError: "no space\nleft"}
	}
	for _, c := range []struct {
		state string
		token api.Token
		want  string
	}{
		{"running", token(42*time.Second, 0), "expires in 42s"},
		{"running", token(30*time.Minute, 0), "expires in 30m"},
		{"running", token(0, 0), "EXPIRED 0s ago"},
		{"running", token(-3*time.Minute, 0), "EXPIRED 3m ago"},
		{"exited", token(-3*time.Hour, 0), "expired 3h ago"},
		{"created", api.Token{}, "none yet"},
		{"running", token(time.Minute, 3), "expires in 60s; renewal failed ×3: no space; left"},
		{"running", token(-time.Minute, 1), "EXPIRED 60s ago; renewal failed ×1: no space; left"},
	} {
		if got := freshness(api.Sandbox{State: c.state, Token: c.token}, noon); got != c.want {
			t.Errorf("%s, %v: %q, want %q", c.state, c.token.ExpiresAt, got, c.want)
		}
	}
}

func TestState(t *testing.T) {
	seven := 7
	for _, c := range []struct {
		s    api.Sandbox
		want string
	}{
		{api.Sandbox{State: "running", StartedAt: noon.Add(-90 * time.Minute)}, "running 90m"},
		{api.Sandbox{State: "running"}, "running"},
		{api.Sandbox{State: "exited", ExitCode: &seven, ExitedAt: noon.Add(-50 * time.Hour)}, "exited (7) 2d ago"},
		{api.Sandbox{State: "exited", ExitCode: &seven, ExitedAt: noon, Reason: "no memory"}, "exited (7) 0s ago: no memory"},
		{api.Sandbox{State: "dead", Reason: "virtiofsd\nwas killed"}, "dead: virtiofsd; was killed"},
		{api.Sandbox{State: "dead", Reason: strings.Repeat("é", 100)}, "dead: " + strings.Repeat("é", 79) + "…"},
		{api.Sandbox{State: "starting"}, "starting"},
	} {
		if got := state(c.s, noon); got != c.want {
			t.Errorf("%+v: %q, want %q", c.s, got, c.want)
		}
	}
}

func TestQuoted(t *testing.T) {
	if got := quoted([]string{"sh", "-c", "echo 'a' $b", ""}); got != `sh -c 'echo '\''a'\'' $b' ''` {
		t.Errorf("%s", got)
	}
}

func TestReport(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
		want string
	}{
		{nil, 0, ""},
		{exit(7), 7, ""},
		{fmt.Errorf("x: %w", exit(143)), 143, ""},
		{&api.Error{Message: "a\nb\x1b[31m", Hint: "do\nit"}, 125, "openshell-vm: a; b?[31m\nhint: do; it\n"},
		{&api.Error{Code: api.CodeNoCommand, Message: "a", Hint: "b"}, 127, "openshell-vm: a\nhint: b\n"},
		{&api.Error{Code: api.CodeNotExecutable, Message: "a", Hint: "b"}, 126, "openshell-vm: a\nhint: b\n"},
		{usage("b", "a %d", 1), 125, "openshell-vm: a 1\nhint: b\n"},
		{errors.Join(usage("b", "a"), usage("d", "c")), 125, "openshell-vm: a\nhint: b\nopenshell-vm: c\nhint: d\n"},
	} {
		var out strings.Builder
		if code := report(&out, c.err); code != c.code || out.String() != c.want {
			t.Errorf("%v: code %d, %q; want %d, %q", c.err, code, out.String(), c.code, c.want)
		}
	}
}

func TestReportAlwaysHints(t *testing.T) {
	for _, err := range []error{
		errors.New("x"), api.ErrNotRunning, &api.Error{Message: "x"}, &api.Error{Code: api.CodeNotFound, Message: "x"},
		&api.Error{Code: api.CodeInvalid, Message: "x"}, fmt.Errorf("y: %w", api.ErrStreamLost),
	} {
		if hint(err) == "" {
			t.Errorf("no hint for %v", err)
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("HERE", "yes")
	got, err := environment(nil, []string{"A=1", "B=", "HERE", "NOT_THERE", "A=2,3", "C=x=y"})
	if err != nil || strings.Join(got, "|") != "A=2,3|B=|HERE=yes|C=x=y" {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"", "=x", "A B=x", "A\x00=x", "A=\x00"} {
		if got, err := environment(nil, []string{bad}); err == nil {
			t.Errorf("%q is taken: %q", bad, got)
		}
	}
}
