package audience

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/vocab"
)

// TestComplete: what is left out is filled in, and all names are known before anything is
// published.
func TestComplete(t *testing.T) {
	got, err := Complete(vocab.Tokens{Identity: "ci.build-1", Audiences: []string{"https://other.example.com"},
		Claims: map[string]string{"team": "a b", "https://example.com/x": "1 ü"},
		Files: []vocab.TokenFile{
			{Audience: "https://api.example.com:8443/v1?x=y"},
			{Audience: "vault"},
			{Audience: "a,b;c/../..", Algorithm: "RS256", TTL: time.Minute, NoID: true},
			{Audience: "vault", File: "again"},
			{Audience: "v.jwt"},
		}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"api.example.com.jwt ES256", "vault.jwt ES256", "a-b-c.jwt RS256", "again ES256", "v.jwt ES256"}
	for i, f := range got.Files {
		if f.File+" "+f.Algorithm != want[i] {
			t.Errorf("%q is in %q, signed by %s; want %s", f.Audience, f.File, f.Algorithm, want[i])
		}
	}
	if again, err := Complete(got); err != nil || fmt.Sprint(again) != fmt.Sprint(got) {
		t.Errorf("what is complete changes: %v, %v", again, err)
	}
}

// TestRefused: each with one line and a hint.
func TestRefused(t *testing.T) {
	file := func(f ...vocab.TokenFile) vocab.Tokens { return vocab.Tokens{Files: f} }
	claims := func(name, value string) vocab.Tokens { return vocab.Tokens{Claims: map[string]string{name: value}} }
	many := map[string]string{}
	for i := range 17 {
		many[fmt.Sprint("c", i)] = "x"
	}
	large := map[string]string{}
	for i := range 5 {
		large[fmt.Sprint("c", i)] = strings.Repeat("x", 250)
	}
	for name, c := range map[string]struct {
		tokens vocab.Tokens
		says   string
	}{
		"empty":             {file(vocab.TokenFile{}), "1 to 512"},
		"control":           {file(vocab.TokenFile{Audience: "a\x1b[31m"}), "not allowed"},
		"line":              {file(vocab.TokenFile{Audience: "a\nb"}), "not allowed"},
		"not UTF-8":         {file(vocab.TokenFile{Audience: "a\xff"}), "not allowed"},
		"long":              {file(vocab.TokenFile{Audience: strings.Repeat("a", 513)}), "1 to 512"},
		"blank":             {file(vocab.TokenFile{Audience: " a"}), "not allowed"},
		"gateway":           {file(vocab.TokenFile{Audience: "openshell-gateway:abc"}), "is a gateway"},
		"no name":           {file(vocab.TokenFile{Audience: "///"}), "no file name"},
		"twice":             {file(vocab.TokenFile{Audience: "https://a/x"}, vocab.TokenFile{Audience: "https://a/y"}), "another token has it"},
		"token":             {file(vocab.TokenFile{Audience: "a", File: "sandbox.jwt"}), "the gateway writes it"},
		"metadata":          {file(vocab.TokenFile{Audience: "a", File: "metadata.json"}), "the gateway writes it"},
		"outside":           {file(vocab.TokenFile{Audience: "a", File: "../x"}), "reserved"},
		"dots in a path":    {file(vocab.TokenFile{Audience: "a", File: "x/../y"}), "reserved"},
		"below a token":     {file(vocab.TokenFile{Audience: "a", File: "sandbox.jwt/y"}), "the gateway writes it"},
		"algorithm":         {file(vocab.TokenFile{Audience: "a", Algorithm: "none"}), "can't be signed"},
		"ttl":               {file(vocab.TokenFile{Audience: "a", TTL: -1}), "no token without expiry"},
		"allowed":           {vocab.Tokens{Audiences: []string{""}}, "1 to 512"},
		"allowed gateway":   {vocab.Tokens{Audiences: []string{"openshell-gateway:x"}}, "is a gateway"},
		"identity":          {vocab.Tokens{Identity: "../root"}, "identity"},
		"identity path":     {vocab.Tokens{Identity: "a/b"}, "identity"},
		"long identity":     {vocab.Tokens{Identity: strings.Repeat("a", 65)}, "identity"},
		"registered":        {claims("sub", "root"), "can't be set"},
		"registered, upper": {claims("AUD", "x"), "can't be set"},
		"ours":              {claims("openshell", "x"), "can't be set"},
		"no claim":          {claims("", "x"), "1 to"},
		"upper case":        {claims("Team", "x"), "can't be used"},
		"claim's value":     {claims("team", "a\x00"), "control"},
		"long value":        {claims("team", strings.Repeat("a", 1025)), "at most"},
		"many claims":       {vocab.Tokens{Claims: many}, "too many"},
		"large claims":      {vocab.Tokens{Claims: large}, "too large"},
		"preset":            {file(vocab.TokenFile{Preset: "acme"}), "no preset"},
		"parameter":         {file(vocab.TokenFile{Preset: "aws", Parameter: "me"}), "malformed"},
		"preset's files": {file(vocab.TokenFile{Preset: "gcp", Parameter: "projects/1/locations/global/workloadIdentityPools/p/providers/q"},
			vocab.TokenFile{Audience: "a", File: "gcp.json"}), "another token has it"},
	} {
		_, err := Complete(c.tokens)
		refusal(t, name, err, c.says)
	}
	var files []vocab.TokenFile
	for i := range maxFiles + 1 {
		files = append(files, vocab.TokenFile{Audience: fmt.Sprint("a", i)})
	}
	_, err := Complete(file(files...))
	refusal(t, "many files", err, "too many")
	_, err = Complete(vocab.Tokens{Audiences: make([]string, maxAudiences+1)})
	refusal(t, "many audiences", err, "too many")
}

func refusal(t *testing.T, name string, err error, says string) {
	t.Helper()
	var e *api.Error
	if !errors.As(err, &e) || !strings.Contains(e.Message, says) || e.Hint == "" || strings.ContainsAny(e.Message+e.Hint, "\n\x1b\x00") {
		t.Errorf("%s: %#v, want …%s…", name, err, says)
	}
}

// TestDrop: by file or by audience; what several tokens have must be named by its file.
func TestDrop(t *testing.T) {
	all, err := Complete(vocab.Tokens{Identity: "i", Files: []vocab.TokenFile{{Audience: "a"}, {Audience: "b"}, {Audience: "b", File: "c"}, {Audience: "c", File: "d"}}})
	if err != nil {
		t.Fatal(err)
	}
	left, err := Drop(all, []string{"a", "c"}) // c is a file, and not the audience of d
	if err != nil || fmt.Sprint(Names(left)) != "[b.jwt d]" || left.Identity != "i" || len(all.Files) != 4 {
		t.Errorf("%v, %v of %v", left, err, all)
	}
	_, err = Drop(all, []string{"b"})
	refusal(t, "ambiguous", err, "several")
	_, err = Drop(all, []string{"sandbox.jwt"})
	refusal(t, "the gateway's", err, "no token")
}

func TestTTL(t *testing.T) {
	of := func(ttl time.Duration) vocab.Tokens {
		return vocab.Tokens{Files: []vocab.TokenFile{{Audience: "a", File: "f", TTL: ttl}}}
	}
	_, err := CheckTTL(of(15*time.Second), time.Second)
	refusal(t, "short", err, "f: token lifetime 15s")
	_, err = CheckTTL(of(25*time.Hour), time.Second)
	refusal(t, "long", err, "at most 24h")
	warnings, err := CheckTTL(of(16*time.Second), time.Second)
	if err != nil || len(warnings) != 1 || !strings.HasPrefix(warnings[0], "f: half") {
		t.Errorf("%q, %v", warnings, err)
	}
	if warnings, err := CheckTTL(of(0), time.Hour); err != nil || warnings != nil {
		t.Errorf("%q, %v", warnings, err)
	}
}
