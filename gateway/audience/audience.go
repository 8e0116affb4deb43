// Package audience judges which tokens a sandbox or a share is to have beside the one for
// the gateway: for which audiences, in which files, with which lifetime and claims. It
// completes what a user left out, and changes the set for who adds or drops a token.
//
// What it returns is complete: each file has its name and its algorithm, so that a record
// means the same to every later version. It mints nothing and publishes nothing.
package audience

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/explain"
	"openshell-vm/gateway/presets"
	"openshell-vm/internal/vocab"
	"openshell-vm/tokens"
)

// What a record may hold. Each token is minted, published and read again at each renewal.
const (
	maxFiles     = 16
	maxAudiences = 64
	maxClaims    = 16   // of the user's own
	maxAllClaims = 1024 // bytes of names and values: a token is read up to a limit
)

// Complete checks what a user asks for and fills in what was left out.
func Complete(t vocab.Tokens) (vocab.Tokens, error) {
	t, err := checkMode(t)
	if err != nil {
		return t, err
	}
	if t.Identity != "" {
		if err := tokens.CheckIdentity(t.Identity); err != nil {
			return t, invalid("give a name such as ci or team-a.reviewer", "%v", err)
		}
	}
	if err := checkClaims(t.Claims); err != nil {
		return t, err
	}
	if len(t.Audiences) > maxAudiences {
		return t, invalid(fmt.Sprintf("at most %d can be allowed", maxAudiences), "%d audiences are too many", len(t.Audiences))
	}
	for _, a := range t.Audiences {
		if err := check(a); err != nil {
			return t, err
		}
	}
	files := t.Files
	t.Files = nil
	return Add(t, files)
}

// Add returns t with more files, which it checks and completes.
func Add(t vocab.Tokens, more []vocab.TokenFile) (vocab.Tokens, error) {
	t.Files = slices.Clone(t.Files)
	for _, f := range more {
		f, err := complete(f)
		if err != nil {
			return t, err
		}
		t.Files = append(t.Files, f)
	}
	if len(t.Files) > maxFiles {
		return t, invalid(fmt.Sprintf("at most %d fit; a token that is seldom needed can be asked for instead: --allow-audience", maxFiles),
			"%d tokens are too many for a share", len(t.Files))
	}
	return t, checkNames(t)
}

// Drop returns t without the files that refs name, each by its file name or its audience.
func Drop(t vocab.Tokens, refs []string) (vocab.Tokens, error) {
	t.Files = slices.Clone(t.Files)
	for _, ref := range refs {
		match := func(f vocab.TokenFile) bool { return f.File == ref }
		if !slices.ContainsFunc(t.Files, match) {
			match = func(f vocab.TokenFile) bool { return f.Audience == ref }
		}
		left := slices.DeleteFunc(slices.Clone(t.Files), match)
		switch len(t.Files) - len(left) {
		case 0:
			return t, &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("there is no token %q", ref),
				Hint: "openshell-vm token inspect lists them; sandbox.jwt itself stays"}
		case 1:
			t.Files = left
		default:
			return t, &api.Error{Code: api.CodeConflict, Message: fmt.Sprintf("several tokens are for %q", ref),
				Hint: "name the file: openshell-vm token inspect lists them"}
		}
	}
	return t, nil
}

// complete checks one file and fills in what was left out.
func complete(f vocab.TokenFile) (vocab.TokenFile, error) {
	f, err := presets.Expand(f)
	if err != nil {
		return f, err
	}
	if err := check(f.Audience); err != nil {
		return f, err
	}
	f.Algorithm = cmp.Or(f.Algorithm, string(tokens.ES256))
	if _, err := tokens.ParseAlgorithm(f.Algorithm); err != nil {
		return f, invalid("leave alg out for ES256, which most verifiers take", "%v", err)
	}
	if f.TTL < 0 {
		return f, invalid("leave ttl out for that of sandbox.jwt, or give a lifetime such as ttl=15m",
			"token lifetime %v: there is no token without expiry", f.TTL)
	}
	if f.File == "" {
		if f.File = fileOf(f.Audience); f.File == "" {
			return f, invalid("give it a name: AUDIENCE,file=NAME", "no file name can be made of the audience %q", f.Audience)
		}
	}
	return f, nil
}

// CheckTTL checks each token's own lifetime against the staleness bound of what sees the
// share. warnings are one line each.
func CheckTTL(t vocab.Tokens, staleness time.Duration) (warnings []string, err error) {
	for _, f := range t.Files {
		if f.TTL == 0 {
			continue // that of sandbox.jwt, which is checked
		}
		warning, err := explain.FileTTL(f.File, f.TTL, staleness)
		if err != nil {
			return nil, err
		}
		if warning != "" {
			warnings = append(warnings, warning)
		}
	}
	return warnings, nil
}

// gateway begins the audience of each gateway's own tokens.
const gateway = "openshell-gateway:"

// check refuses an audience that no verifier could compare.
func check(audience string) error {
	if strings.HasPrefix(audience, gateway) {
		return invalid("the token for the gateway is sandbox.jwt, which is always there", "the audience %.80q is a gateway", audience)
	}
	if err := tokens.CheckAudience(audience); err != nil {
		return invalid("give what its verifier expects as aud, such as https://api.example.com", "%v", err)
	}
	return nil
}

// isWord reports whether s consists of letters, digits and the further characters, and
// begins with a letter or a digit.
func isWord(s, further string) bool {
	for i, c := range []byte(s) {
		alphanumeric := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alphanumeric && (i == 0 || !strings.ContainsRune(further, rune(c))) {
			return false
		}
	}
	return s != ""
}

// invalid is the error for a request that can't be met.
func invalid(hint, format string, args ...any) error {
	return &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf(format, args...), Hint: hint}
}
