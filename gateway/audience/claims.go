package audience

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"openshell-vm/tokens"
)

// checkClaims refuses claims of the user's that would change what a token means. Their names
// are in lower case, so that no two differ only by that.
func checkClaims(claims map[string]string) error {
	if len(claims) > maxClaims {
		return invalid(fmt.Sprintf("at most %d fit", maxClaims), "%d claims are too many", len(claims))
	}
	size := 0
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		value := claims[name]
		if err := tokens.CheckClaim(name, value); err != nil {
			return invalid("choose another name, such as team, or a shorter value", "%v", err)
		}
		if name != strings.ToLower(name) {
			return invalid("write it in lower case: "+strings.ToLower(name), "the claim %.40q can't be used", name)
		}
		size += len(name) + len(value)
	}
	if size > maxAllClaims {
		return invalid(fmt.Sprintf("all together may have %d", maxAllClaims), "claims of %d bytes are too large", size)
	}
	return nil
}
