package explain

import (
	"strings"
	"testing"
	"time"

	"openshell-vm/gateway/api"
)

func TestCheckTTL(t *testing.T) {
	for _, c := range []struct {
		ttl, staleness time.Duration
		warns          string
		refuses, hint  string
	}{
		{15 * time.Second, time.Second, "", "token lifetime 15s: too short: the smallest that works here is 16s", "use --ttl 16s or longer"},
		{26 * time.Second, 6 * time.Second, "", "the smallest that works here is 27s", "use --ttl 27s or longer"},
		{16 * time.Second, time.Second, "16s is under 10 minutes", "", ""},
		{20*time.Minute - 1, time.Second, "under 10 minutes", "", ""},
		{20 * time.Minute, time.Second, "", "", ""},
		{24 * time.Hour, time.Second, "", "", ""},
		{24*time.Hour + 1, time.Second, "", "too long: at most 24h", "use --ttl 24h or shorter"},
	} {
		warning, err := TTL(c.ttl, c.staleness)
		if (warning != "") != (c.warns != "") || !strings.Contains(warning, c.warns) {
			t.Errorf("%v: warns %q, wanted %q", c.ttl, warning, c.warns)
		}
		if c.refuses == "" {
			if err != nil {
				t.Errorf("%v: %v", c.ttl, err)
			}
			continue
		}
		e := Error(err)
		if e.Code != api.CodeInvalid || !strings.Contains(e.Message, c.refuses) || !strings.HasPrefix(e.Hint, c.hint) {
			t.Errorf("%v: %+v, wanted …%s…, hint %s…", c.ttl, e, c.refuses, c.hint)
		}
	}
}
