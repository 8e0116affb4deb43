package tokens

import (
	"errors"
	"reflect"
	"testing"
	"time"
)

// forAudience asks for a token with all that one for an audience may have.
func forAudience(a Algorithm) Request {
	r := request(7, time.Minute, noon)
	r.Audience, r.Algorithm, r.Identity = "https://api.example.com", a, "builder"
	r.About = About{Name: "box", Driver: "docker", Image: "alpine"}
	r.Claims = map[string]string{"team": "a \"b\" <c>", "Tenant": "ü", "https://example.com/role": ""}
	return r
}

// TestMintForAudience: with each algorithm, a token says what was asked for, its key says
// which algorithm it has, and only a verifier for its audience takes it.
func TestMintForAudience(t *testing.T) {
	k := openKeys(t)
	for _, a := range algorithms {
		for _, noID := range []bool{false, true} {
			r := forAudience(a)
			r.NoID = noID
			raw, minted, err := Issuer{Keys: k, GatewayID: gatewayID, URL: "https://issuer.example", TrustDomain: "example.org"}.Mint(r)
			if err != nil {
				t.Fatal(err)
			}
			v := verifier(k)
			v.URL, v.TrustDomain = "https://issuer.example", "example.org"
			if _, err := v.Verify(string(raw), noon); !errors.Is(err, ErrAudience) {
				t.Errorf("%s: the gateway takes a token for another: %v", a, err)
			}
			v.Audiences = []string{"x", r.Audience}
			got, err := v.Verify(string(raw), noon)
			if err != nil {
				t.Fatalf("%s: %v", a, err)
			}
			if !reflect.DeepEqual(got, minted) {
				t.Errorf("%s: verified %+v, minted %+v", a, got, minted)
			}
			r.About.ID = sandboxID
			if got.Algorithm != a || got.Subject != "spiffe://example.org/identity/builder" || got.SandboxID != sandboxID ||
				got.About != r.About || !reflect.DeepEqual(got.Own, r.Claims) || (got.TokenID == "") != noID {
				t.Errorf("%s: claims %+v", a, got)
			}
		}
	}
	if have := k.Algorithms(); !reflect.DeepEqual(have, algorithms) {
		t.Errorf("keys for %v", have)
	}
	again, err := OpenKeys(k.dir)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(ids(again), ids(k)) {
		t.Errorf("the next process has the keys %v, this one had %v", ids(again), ids(k))
	}
}

func ids(k *Keys) (list []string) {
	for _, info := range k.List(noon) {
		list = append(list, string(info.Algorithm)+" "+info.ID)
	}
	return list
}
