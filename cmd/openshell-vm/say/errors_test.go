package say

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/text"
)

// TestOfSudo: if something is not found, and only then, the hint says what sudo hides.
func TestOfSudo(t *testing.T) {
	missing := &api.Error{Code: api.CodeNotFound, Message: "there is no sandbox"}
	for _, c := range []struct {
		err  error
		euid int
		user string
		says bool
	}{
		{missing, 0, "alice", true},
		{missing, 0, "root", false},
		{missing, 0, "", false},
		{missing, 1000, "alice", false},
		{errors.New("else"), 0, "alice", false},
	} {
		got := ofSudo(c.err, c.euid, c.user)
		if (got != "") != c.says || c.says && !strings.Contains(got, "without sudo for those of alice") {
			t.Errorf("%+v: %q", c, got)
		}
	}
	t.Setenv(api.EnvStateDir, "/s")
	if got := ofSudo(missing, 0, "alice"); got != "" {
		t.Errorf("of a state directory that was named: %q", got)
	}
}

func TestReport(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
		want string
	}{
		{nil, 0, ""},
		{Exit(7), 7, ""},
		{fmt.Errorf("x: %w", Exit(143)), 143, ""},
		{&api.Error{Message: "a\nb\x1b[31m", Hint: "do\nit"}, 125, "openshell-vm: a; b\nhint: do; it\n"},
		{&api.Error{Code: api.CodeNoCommand, Message: "a", Hint: "b"}, 127, "openshell-vm: a\nhint: b\n"},
		{&api.Error{Code: api.CodeNotExecutable, Message: "a", Hint: "b"}, 126, "openshell-vm: a\nhint: b\n"},
		{Errorf("b", "a %d", 1), 125, "openshell-vm: a 1\nhint: b\n"},
		{errors.Join(Errorf("b", "a"), Errorf("d", "c")), 125, "openshell-vm: a\nhint: b\nopenshell-vm: c\nhint: d\n"},
	} {
		var out strings.Builder
		if code := Report(&out, c.err); code != c.code || out.String() != c.want {
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

// TestHostileText: whatever an engine or a gateway says, what is told of it is lines of
// printable text.
func TestHostileText(t *testing.T) {
	const evil = "a\u009b31m\x1b]0;x\x07\u202eb\ufeffc\td\u200b"
	var out strings.Builder
	Report(&out, &api.Error{Message: evil, Hint: evil})
	fmt.Fprintln(&out, (&pulling{image: evil}).line(api.PullProgress{Layer: evil, Status: evil}))
	if strings.Count(out.String(), "\n") != 3 {
		t.Errorf("not three lines: %q", out.String())
	}
	for _, r := range out.String() {
		if r != '\n' && !text.Printable(r) {
			t.Fatalf("%q comes through: %q", r, out.String())
		}
	}
}
