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
	return checkTTL("", "--ttl ", ttl, staleness)
}

// FileTTL is TTL for a token with a file and a lifetime of its own.
func FileTTL(file string, ttl, staleness time.Duration) (warning string, err error) {
	return checkTTL(file+": ", "ttl=", ttl, staleness)
}

func checkTTL(what, option string, ttl, staleness time.Duration) (warning string, err error) {
	var wrong *tokens.TTLError
	if errors.As(tokens.CheckTTL(ttl, staleness), &wrong) {
		hint := fmt.Sprintf("use %s%v or longer", option, wrong.Least)
		if errors.Is(wrong, tokens.ErrLongTTL) {
			hint = fmt.Sprintf("use %s%dh or shorter: a token is renewed at half of its lifetime, "+
				"as long as a gateway runs", option, int(wrong.Most.Hours()))
		}
		return "", &api.Error{Code: api.CodeInvalid, Message: what + wrong.Error(), Hint: hint}
	}
	if !tokens.OutlivesCaches(ttl) {
		warning = fmt.Sprintf("%shalf of the token lifetime %v is under %d minutes: "+
			"a program that caches the token file for that long may use an expired token", what, ttl, int(tokens.CacheTime.Minutes()))
	}
	return warning, nil
}
