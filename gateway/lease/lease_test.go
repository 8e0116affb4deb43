package lease

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openshell-vm/internal/contract"
	"openshell-vm/share"
	"openshell-vm/tokens"
)

const id = "abcdefghijkl"

// fixed is a source that always returns what it is made with.
type fixed struct {
	files []share.File
	err   error
	due   time.Time
}

func (f fixed) Files(uint64) ([]share.File, error) { return f.files, f.err }
func (f fixed) Due() time.Time                     { return f.due }

func names(files []share.File) string {
	var all []string
	for _, f := range files {
		all = append(all, f.Name)
	}
	return strings.Join(all, " ")
}

// TestContentIsWholeOrNothing: if a source returns an error without files, there is no
// generation. If it returns an error and files, Warn is called and the files are in the
// generation.
func TestContentIsWholeOrNothing(t *testing.T) {
	a, b := fixed{files: []share.File{{Name: "a"}}}, fixed{files: []share.File{{Name: "b"}}}
	stale := fixed{files: b.files, err: errors.New("stale")}
	for _, c := range []struct {
		sources []Source
		want    string
		warned  int
		refused bool
	}{
		{[]Source{a, b}, "a b", 0, false},
		{[]Source{a, stale}, "a b", 1, false},
		{[]Source{a, fixed{files: []share.File{}, err: errors.New("none")}}, "a", 1, false},
		{[]Source{fixed{err: errors.New("no")}, b}, "", 0, true},
		{[]Source{a, fixed{err: errors.New("no")}}, "", 0, true},
	} {
		warned := 0
		content := &Content{Sources: c.sources, Warn: func(error) { warned++ }}
		files, err := content.Build(1)
		if names(files) != c.want || warned != c.warned || (err != nil) != c.refused {
			t.Errorf("%v: %q, %d warnings, %v", c.sources, names(files), warned, err)
		}
	}
}

// TestDue: a content is due when its first source is. Sources that are never due do not
// count.
func TestDue(t *testing.T) {
	soon, late := time.Unix(100, 0), time.Unix(200, 0)
	for _, c := range []struct {
		due  []time.Time
		want time.Time
	}{{nil, time.Time{}}, {[]time.Time{{}}, time.Time{}}, {[]time.Time{late, {}, soon}, soon}, {[]time.Time{{}, late}, late}} {
		content := &Content{}
		for _, due := range c.due {
			content.Sources = append(content.Sources, fixed{due: due})
		}
		if got := content.Due(); !got.Equal(c.want) {
			t.Errorf("%v: %v", c.due, got)
		}
	}
}

// leased is a share with one generation of a token and a user's file, and the keys.
func leased(t *testing.T) (auth string, token *Token, content *Content, generation uint64) {
	t.Helper()
	keys, err := tokens.OpenKeys(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := share.Create(filepath.Join(t.TempDir(), "s"), share.Options{})
	if err != nil {
		t.Fatal(err)
	}
	token = &Token{Issuer: tokens.Issuer{Keys: keys, GatewayID: "gatewaygatew"}, File: contract.TokenName,
		Request: tokens.Request{SandboxID: id, TTL: time.Hour}}
	files := &Files{Auth: s.AuthDir(), Load: func() (map[string][]byte, error) { return map[string][]byte{"b": nil, "a": nil}, nil }}
	content = &Content{Sources: []Source{token, &Metadata{Tokens: []*Token{token}}, files}, Warn: func(err error) { t.Error(err) }}
	p, err := s.Publish(t.Context(), 7, content.Build)
	if err != nil {
		t.Fatal(err)
	}
	return s.AuthDir(), token, content, p.Generation
}

func (t *Token) verifier() tokens.Verifier {
	return tokens.Verifier{Keys: t.Issuer.Keys, GatewayID: t.Issuer.GatewayID}
}

// TestTokenInShare: the token and its metadata carry the number of their generation.
func TestTokenInShare(t *testing.T) {
	auth, token, content, generation := leased(t)
	held, err := wanted{id, time.Hour, nil, false}.read(auth, token.verifier(), time.Now())
	if err != nil || held.Generation != generation || held.Claims.Generation != generation || held.Claims.TokenID != token.Minted().TokenID {
		t.Errorf("%+v, %v in generation %d", held, err, generation)
	}
	data, err := os.ReadFile(filepath.Join(auth, contract.MetadataName))
	if err != nil {
		t.Fatal(err)
	}
	var m contract.Metadata
	if err := json.Unmarshal(data, &m); err != nil || m.Generation != generation ||
		!m.RenewAt.Equal(content.Due()) || m.AuthMode == "" || m.Gateway != "gatewaygatew" {
		t.Errorf("%s, %v", data, err)
	}
	if names(content.files) != "sandbox.jwt metadata.json a b" {
		t.Errorf("published are %s", names(content.files))
	}
	if !content.ShownIn(auth, generation) || content.ShownIn(auth, generation-1) {
		t.Error("it can't tell what is shown")
	}
}

// TestReadRefuses: read refuses another sandbox's token. Of an expired token it returns the
// times.
func TestReadRefuses(t *testing.T) {
	auth, token, _, generation := leased(t)
	if _, err := (wanted{"otherotherot", time.Hour, nil, false}).read(auth, token.verifier(), time.Now()); err == nil {
		t.Error("another sandbox's token is taken")
	}
	held, err := wanted{id, time.Hour, nil, false}.read(auth, token.verifier(), time.Now().Add(2*time.Hour))
	if !errors.Is(err, tokens.ErrExpired) || held.Generation != generation || held.Metadata.ExpiresAt.IsZero() {
		t.Errorf("expired: %+v, %v", held, err)
	}
	other := *token
	if other.Issuer.Keys, err = tokens.OpenKeys(filepath.Join(t.TempDir(), "keys")); err != nil {
		t.Fatal(err)
	}
	if held, err := (wanted{id, time.Hour, nil, false}).read(auth, other.verifier(), time.Now()); err == nil || !held.Revoked || held.Metadata.ExpiresAt.IsZero() {
		t.Errorf("of a key that is gone: %+v, %v", held, err)
	}
	if held, err := (wanted{id, time.Hour, nil, false}).read(t.TempDir(), token.verifier(), time.Now()); err == nil || held.Generation != 0 {
		t.Errorf("nothing: %+v, %v", held, err)
	}
}

// TestFilesStayWhereTheyCantBeRead: if the user's files can't be read, those that were
// published last stay in the share.
func TestFilesStayWhereTheyCantBeRead(t *testing.T) {
	auth, _, _, _ := leased(t)
	damaged := func() (map[string][]byte, error) { return nil, errors.New("damaged") }
	files, err := (&Files{Auth: auth, Load: damaged}).Files(8)
	if err == nil || names(files) != "a b" {
		t.Errorf("%s, %v", names(files), err)
	}
	files, err = (&Files{Auth: t.TempDir(), Load: damaged}).Files(8)
	if err == nil || files == nil || len(files) != 0 {
		t.Errorf("without any: %v, %v; they must not keep a token back", files, err)
	}
}
