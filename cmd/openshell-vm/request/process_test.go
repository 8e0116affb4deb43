package request

import (
	"strings"
	"testing"
)

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
