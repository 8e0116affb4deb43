package audience

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// reserved are the claims that verifiers act upon, which a user can't set: those of RFC 7519,
// section 4.1, those by which OpenID Connect and OAuth bind a token to who holds it, and ours.
var reserved = strings.Fields("iss sub aud exp nbf iat jti" +
	" azp nonce auth_time acr amr at_hash c_hash sid cnf act may_act client_id scope events txn" +
	" sandbox_id gen openshell")

// checkClaims refuses claims of the user's that would change what a token means.
func checkClaims(claims map[string]string) error {
	if len(claims) > maxClaims {
		return invalid(fmt.Sprintf("at most %d fit", maxClaims), "%d claims are too many", len(claims))
	}
	size := 0
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		value := claims[name]
		size += len(name) + len(value)
		switch {
		case slices.Contains(reserved, strings.ToLower(name)):
			return invalid("choose another name: verifiers act upon this one, and the gateway alone sets it", "the claim %q can't be set", name)
		case len(name) > maxClaimName || !isWord(name, "_.:/-"):
			return invalid(fmt.Sprintf("a claim's name is 1 to %d letters, digits, '_', '.', ':', '/' or '-', and begins with a letter or a digit", maxClaimName),
				"the claim name %.80q can't be used", name)
		case name != strings.ToLower(name):
			return invalid("write it in lower case: "+strings.ToLower(name), "the claim name %q can't be used", name)
		case len(value) > maxClaim || !utf8.ValidString(value) || strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) }):
			return invalid(fmt.Sprintf("give at most %d bytes that can be printed", maxClaim), "the value of the claim %q can't be used", name)
		}
	}
	if size > maxAllClaims {
		return invalid(fmt.Sprintf("all together may have %d", maxAllClaims), "claims of %d bytes are too large", size)
	}
	return nil
}
