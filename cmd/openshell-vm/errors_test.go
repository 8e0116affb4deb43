package main

import (
	"errors"
	"strings"
	"testing"

	"openshell-vm/gateway/api"
)

// What sudo hides is said where something is not found, and nowhere else.
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
		if got := ofSudo(c.err, c.euid, c.user); (got != "") != c.says || c.says && !strings.Contains(got, "without sudo for those of alice") {
			t.Errorf("%+v: %q", c, got)
		}
	}
	t.Setenv(api.EnvStateDir, "/s")
	if got := ofSudo(missing, 0, "alice"); got != "" {
		t.Errorf("of a state directory that was named: %q", got)
	}
}
