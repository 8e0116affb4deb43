package audience

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openshell-vm/internal/vocab"
	"openshell-vm/tokens"
)

// TestWhatIsAcceptedIsMinted: a record holds nothing that can't be minted, for then no token
// of the sandbox would be renewed. All limits are reached at once, with the bytes that take
// the most room in a token.
func TestWhatIsAcceptedIsMinted(t *testing.T) {
	full := vocab.Tokens{Identity: strings.Repeat("i", 64), Claims: map[string]string{}}
	for i := range 4 {
		full.Claims[fmt.Sprint("n", i)] = strings.Repeat(`"`, maxAllClaims/4-2)
	}
	for i, a := range []string{"EdDSA", "ES256", "RS256"} {
		full.Files = append(full.Files, vocab.TokenFile{Audience: strings.Repeat("<", 512), Algorithm: a, File: fmt.Sprint("f", i)})
	}
	got, err := Complete(full)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := tokens.OpenKeys(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	issuer := tokens.Issuer{Keys: keys, GatewayID: "g1", URL: "https://" + strings.Repeat("u", 500), TrustDomain: strings.Repeat("d", 255)}
	for _, f := range got.Files {
		_, _, err := issuer.Mint(tokens.Request{SandboxID: strings.Repeat("s", 64), Generation: 1 << 63, TTL: time.Hour, Now: time.Now(),
			Audience: f.Audience, Algorithm: tokens.Algorithm(f.Algorithm), Identity: got.Identity, Claims: got.Claims,
			About: tokens.About{Name: strings.Repeat("n", 64), Driver: "docker", Image: strings.Repeat("i", 256), RootFS: strings.Repeat("r", 256)}})
		if err != nil {
			t.Errorf("%s for %.20q: %v", f.Algorithm, f.Audience, err)
		}
	}
}
