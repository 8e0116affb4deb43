package audience

import (
	"errors"
	"strings"
	"testing"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/vocab"
)

// TestModes: which auth modes a sandbox can have, and what is said of the others.
func TestModes(t *testing.T) {
	for _, c := range []struct {
		mode   vocab.AuthMode
		static string
		want   vocab.AuthMode
		says   []string // of the refusal, in its line or its hint
	}{
		{"", "", "", nil},
		{vocab.ManagedFile, "", "", nil},
		{"", "/f", vocab.StaticToken, nil},
		{vocab.StaticToken, "/f", vocab.StaticToken, nil},
		{"", "f", "", []string{"can't be used", "whole path"}},
		{"", "/f\x1b[2J", "", []string{"can't be used"}},
		{vocab.ManagedFile, "/f", "", []string{"gateway-managed-file", "--static-token"}},
		{vocab.StaticToken, "", "", []string{"static-token", "--static-token FILE"}},
		{vocab.KubernetesExchange, "", "", []string{"for pods", "docs/auth-modes.md"}},
		{vocab.KubernetesExchange, "/f", "", []string{"for pods"}},
		{vocab.SupervisorPush, "", "", []string{"retired: gateway-managed-file took its place"}},
		{vocab.SupervisorPush, "/f", "", []string{"retired: gateway-managed-file took its place"}},
		{"other", "", "", []string{`no auth mode "other"`, "gateway-managed-file, static-token"}},
	} {
		got, err := Complete(vocab.Tokens{Mode: c.mode, Static: c.static})
		if len(c.says) == 0 {
			if err != nil || got.Mode != c.want || got.Static != c.static {
				t.Errorf("%q with %q: %+v, %v", c.mode, c.static, got, err)
			}
			continue
		}
		var answer *api.Error
		if !errors.As(err, &answer) || answer.Code != api.CodeInvalid {
			t.Errorf("%q with %q: %v", c.mode, c.static, err)
			continue
		}
		for _, part := range c.says {
			if !strings.Contains(answer.Message+"\n"+answer.Hint, part) {
				t.Errorf("%q with %q: %q, %q says nothing of %q", c.mode, c.static, answer.Message, answer.Hint, part)
			}
		}
	}
}
