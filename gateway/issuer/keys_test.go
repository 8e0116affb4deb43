package issuer

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openshell-vm/tokens"
)

// TestKeysFromTheBeginning: an issuer with a URL shows keys of all kinds before a token is
// signed with them, and a gateway without one makes only the key that it needs itself.
func TestKeysFromTheBeginning(t *testing.T) {
	dir := t.TempDir()
	keys, err := tokens.OpenKeys(filepath.Join(dir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	i := Open(filepath.Join(dir, "issuer.json"), keys, quiet)
	for _, url := range []string{"", "https://a.example"} {
		if _, err := i.Configure(name(url), time.Minute, time.Now()); err != nil {
			t.Fatal(err)
		}
		want := 1
		if url != "" {
			want = 3
		}
		d, err := i.Documents(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(d.Keys), `"kid"`); n != want {
			t.Errorf("%d keys for the issuer %q", n, url)
		}
	}
}
