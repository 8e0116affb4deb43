package explain

import (
	"errors"
	"fmt"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/tokens"
)

// TTL checks a token lifetime against a staleness bound, and words the error for users. The
// warning is one line, or "".
func TTL(ttl, staleness time.Duration) (warning string, err error) {
	var wrong *tokens.TTLError
	if errors.As(tokens.CheckTTL(ttl, staleness), &wrong) {
		hint := fmt.Sprintf("use --ttl %v or longer", wrong.Least)
		if errors.Is(wrong, tokens.ErrLongTTL) {
			hint = fmt.Sprintf("use --ttl %dh or shorter: a token is renewed at half of its lifetime, "+
				"as long as a gateway runs", int(wrong.Most.Hours()))
		}
		return "", &api.Error{Code: api.CodeInvalid, Message: wrong.Error(), Hint: hint}
	}
	if !tokens.OutlivesCaches(ttl) {
		warning = fmt.Sprintf("half of the token lifetime %v is under %d minutes: "+
			"a program that caches the token file for that long may use an expired token", ttl, int(tokens.CacheTime.Minutes()))
	}
	return warning, nil
}
