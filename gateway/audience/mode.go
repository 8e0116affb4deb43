package audience

import (
	"fmt"
	"path/filepath"
	"strings"
	"unicode"

	"openshell-vm/internal/vocab"
)

// checkMode refuses an auth mode that no sandbox can have, and says what to do instead. It
// completes the mode: the user's own token alone says which one is meant.
func checkMode(t vocab.Tokens) (vocab.Tokens, error) {
	if t.Mode == "" && t.Static != "" {
		t.Mode = vocab.StaticToken
	}
	switch t.Mode {
	case "", vocab.ManagedFile:
		if t.Static != "" {
			return t, invalid("leave --auth-mode out: --static-token says it",
				"a token of the user's own does not go with the auth mode %s", t.Mode)
		}
		t.Mode = "" // as in an older version's record
	case vocab.StaticToken:
		if t.Static == "" {
			return t, invalid("name the file: --static-token FILE", "the auth mode %s needs a token of the user's own", t.Mode)
		}
		return t, checkStatic(t)
	case vocab.KubernetesExchange:
		return t, invalid("leave --auth-mode out: what runs on this host has its token from the gateway; docs/auth-modes.md has all modes",
			"the auth mode %s is for pods, not for a sandbox or a share: a pod exchanges the token of its ServiceAccount", t.Mode)
	case vocab.SupervisorPush:
		return t, invalid("leave --auth-mode out: the default keeps the token file fresh, and nothing has to be connected",
			"the auth mode %s is retired: %s took its place", t.Mode, vocab.ManagedFile)
	default:
		return t, invalid("leave --auth-mode out, or use one of "+modes(), "there is no auth mode %.40q", string(t.Mode))
	}
	return t, nil
}

// checkStatic refuses what does not go with a token of the user's own.
func checkStatic(t vocab.Tokens) error {
	if !filepath.IsAbs(t.Static) || strings.ContainsFunc(t.Static, unicode.IsControl) || len(t.Static) > maxPath {
		return invalid("give the file's whole path", "the path %.80q of the token can't be used", t.Static)
	}
	if len(t.Audiences) > 0 {
		return invalid("keep a token for that audience in the share instead: --token "+t.Audiences[0],
			"--allow-audience does not go with --static-token: who asks has to send a token of this gateway")
	}
	return nil
}

// maxPath bounds a path of the host, in bytes.
const maxPath = 4096

// modes lists the auth modes that a sandbox can have.
func modes() string {
	return strings.Join([]string{fmt.Sprint(vocab.ManagedFile), fmt.Sprint(vocab.StaticToken)}, ", ")
}
