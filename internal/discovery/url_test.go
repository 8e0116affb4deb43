package discovery

import (
	"strings"
	"testing"
)

func TestCheckURL(t *testing.T) {
	for _, good := range []string{
		"https://tokens.example.org", "https://tokens.example.org:8443", "https://bucket.s3.eu-west-1.amazonaws.com/openshell/one",
		"https://example.org/~me/a_b-c.d", "https://[2001:db8::1]:8443",
		"http://127.0.0.1:8443", "http://localhost", "http://localhost:1234/x", "http://[::1]:80",
	} {
		if err := CheckURL(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for bad, why := range map[string]string{
		"":                                          "does not begin",
		"tokens.example.org":                        "does not begin",
		"ftp://example.org":                         "does not begin",
		"http://example.org":                        "for trying out",
		"http://127.0.0.1.example.org":              "for trying out",
		"https://":                                  "no host",
		"https://:8443":                             "no host",
		"https://example.org/":                      "slash",
		"https://example.org/a/":                    "slash",
		"https://me@example.org":                    "user's name",
		"https://example.org?a=b":                   "query",
		"https://example.org?":                      "query",
		"https://example.org#":                      "fragment",
		"https://example.org/#x":                    "fragment",
		"https://Example.org":                       "lower case",
		"HTTPS://example.org":                       "lower case",
		"https://example.org:":                      "usually written",
		"https://example.org//a":                    "empty part",
		"https://example.org/a/../b":                "dots",
		"https://example.org/%7Eme":                 "more than one way",
		"https://exämple.org":                       "more than one way",
		"https://example.org/a b":                   "more than one way",
		"https://example.org\n":                     "no URL",
		"https://e.org/" + strings.Repeat("a", 255): "characters",
	} {
		if err := CheckURL(bad); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, wanted %q", bad, err, why)
		}
	}
}
