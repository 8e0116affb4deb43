package gateway

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/share"
)

const role = "arn:aws:iam::123456789012:role/deploy"

// audiencesIn verifies the tokens for other audiences in a share, by the API, and that there
// are no more of them.
func (w *world) audiencesIn(dir string, want map[string]string) {
	w.Helper()
	content, err := share.Read(dir)
	w.must(err)
	for file, audience := range want {
		r, err := w.client.Tokens.Verify(w.Context(), api.VerifyRequest{Token: string(content.Files[file]), Audience: audience})
		w.must(err)
		if !r.Valid || r.Generation != content.Generation {
			w.Errorf("%s: %+v in generation %d", file, r, content.Generation)
		}
		if r, err := w.client.Tokens.Verify(w.Context(), api.VerifyRequest{Token: string(content.Files[file])}); err != nil || r.Valid {
			w.Errorf("%s is taken for the gateway: %+v, %v", file, r, err)
		}
	}
	for file := range content.Files {
		if _, ok := want[file]; !ok && strings.HasSuffix(file, ".jwt") && file != "sandbox.jwt" {
			w.Errorf("%s is still there", file)
		}
	}
}

// TestTokensForOthers: a sandbox and a share of the user's own have the tokens that were asked
// for, in one generation with the token for the gateway, before and after a restart. What
// providers' SDKs read is there, and never in place of what the user gave.
func TestTokensForOthers(t *testing.T) {
	f := newFake("fake")
	w := newWorld(t, f)
	w.run()
	asked := api.Tokens{Identity: "ci", Claims: map[string]string{"team": "a"}, Audiences: []string{"https://other"}, Files: []api.TokenFile{
		{Audience: "https://api.example.com", TTL: 20 * time.Second}, {Preset: "aws", Parameter: role},
		{Preset: "gcp", Parameter: "projects/1/locations/global/workloadIdentityPools/p/providers/q"}}}
	box := w.create(api.CreateRequest{Name: "box", Tokens: asked, Process: api.Process{Env: []string{"AWS_ROLE_ARN=mine"}}})
	env := f.spec(box.ID).Process.Env
	for _, want := range []string{"AWS_ROLE_ARN=mine", "AWS_WEB_IDENTITY_TOKEN_FILE=/etc/openshell/auth/aws.jwt",
		"GOOGLE_APPLICATION_CREDENTIALS=/etc/openshell/auth/gcp.json"} {
		if !slices.Contains(env, want) {
			t.Errorf("the environment lacks %s: %v", want, env)
		}
	}
	if slices.Contains(env, "AWS_ROLE_ARN="+role) || len(box.Process.Env) != 1 {
		t.Errorf("the user's variable was replaced: %v; %v is shown", env, box.Process.Env)
	}
	want := map[string]string{"api.example.com.jwt": "https://api.example.com", "aws.jwt": "sts.amazonaws.com",
		"gcp.jwt": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q"}
	w.start("box")
	w.audiencesIn(box.Share, want)
	config, err := os.ReadFile(filepath.Join(box.Share, "gcp.json"))
	if err != nil || !strings.Contains(string(config), `"/etc/openshell/auth/gcp.jwt"`) {
		t.Errorf("%s, %v", config, err)
	}
	if len(box.Warnings) != 1 || !strings.HasPrefix(box.Warnings[0], "api.example.com.jwt: half") {
		t.Errorf("warned of %q", box.Warnings)
	}
	shown := w.get("box")
	if shown.Tokens.Identity != "ci" || len(shown.Token.Files) != 3 || shown.Token.Files[1].Subject != "spiffe://openshell/identity/ci" ||
		shown.Token.Files[1].TokenID == "" || shown.Token.Files[1].KeyID == shown.Token.KeyID || shown.Token.Files[0].ExpiresAt.After(shown.Token.ExpiresAt) {
		t.Errorf("shown: %+v, %+v", shown.Tokens, shown.Token)
	}

	own := w.share(api.ShareRequest{Name: "agent", Tokens: api.Tokens{Files: []api.TokenFile{{Preset: "azure", Parameter: "t/c"}}}})
	w.audiencesIn(own.Dir, map[string]string{"azure.jwt": "api://AzureADTokenExchange"})
	if own.Token.Files[0].Subject != "spiffe://openshell/identity/agent" || own.Token.Files[0].Algorithm != "RS256" || !slices.Contains(own.Env, "AZURE_CLIENT_ID=c") {
		t.Errorf("the share is %+v", own)
	}
	_, err = w.client.Shares.Create(t.Context(), api.ShareRequest{Name: "agent", Tokens: api.Tokens{Files: []api.TokenFile{{Audience: "b"}}}})
	refused(t, err, api.CodeConflict, "has other tokens")
	for _, q := range []api.ShareRequest{{Name: "agent"}, {Name: "agent", Tokens: api.Tokens{Files: []api.TokenFile{{Preset: "azure", Parameter: "t/c"}}}},
		{Name: "agent", Ignore: true, Tokens: api.Tokens{Identity: "x"}}} {
		if again := w.share(q); again.Token.Generation != own.Token.Generation {
			t.Errorf("found again as %+v", again)
		}
	}

	before := w.get("box").Token
	w.stop()
	w.run()
	w.eventually("the tokens are known", func() bool { return len(w.get("box").Token.Files) == 3 })
	if now := w.get("box").Token; now.Generation == before.Generation && now.Files[1] != before.Files[1] {
		t.Errorf("after a restart %+v is known, before it was %+v", now.Files[1], before.Files[1])
	}
	w.audiencesIn(box.Share, want)
}

// TestChangedTokens: token add and token drop change a sandbox that runs, and all that is
// refused or fails leaves it as it was.
func TestChangedTokens(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	w.run()
	box := w.create(api.CreateRequest{Name: "box"})
	w.start("box")
	own := w.share(api.ShareRequest{Name: "agent"})
	c, ctx := w.client.Tokens, t.Context()
	add := func(ref string, files ...api.TokenFile) (api.Share, error) {
		return c.Change(ctx, ref, api.TokensRequest{Add: files})
	}
	for ref, dir := range map[string]string{"box": box.Share, "agent": own.Dir} {
		s, err := add(ref, api.TokenFile{Audience: "https://a"}, api.TokenFile{Audience: "b", TTL: time.Hour, NoID: true})
		w.must(err)
		if len(s.Token.Files) != 2 || s.Warnings != nil {
			t.Errorf("%s: %+v", ref, s)
		}
		w.audiencesIn(dir, map[string]string{"a.jwt": "https://a", "b.jwt": "b"})
	}
	if s, err := add("box", api.TokenFile{Preset: "aws", Parameter: role}); err != nil || len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "AWS_ROLE_ARN="+role) {
		t.Errorf("a preset for a sandbox that exists: %+v, %v", s.Warnings, err)
	}
	if s, err := add("agent", api.TokenFile{Preset: "aws", Parameter: role}); err != nil || s.Warnings != nil || !slices.Contains(s.Env, "AWS_ROLE_ARN="+role) {
		t.Errorf("a preset for a share: %+v, %v", s, err)
	}

	ttl := 20 * time.Minute // of all tokens without a lifetime of their own
	if _, err := w.client.Update(ctx, "box", api.UpdateRequest{TTL: &ttl}); err != nil {
		t.Fatal(err)
	}
	if files := w.get("box").Token.Files; time.Until(files[0].ExpiresAt) > ttl || time.Until(files[1].ExpiresAt) < 50*time.Minute {
		t.Errorf("after update --ttl: %+v", files)
	}
	w.put("box", map[string]string{"mine.jwt": "x"})
	generation := w.get("box").Token.Generation
	for says, q := range map[string]api.TokensRequest{
		"another token has it":      {Add: []api.TokenFile{{Audience: "https://a/else"}}},
		`a file "mine.jwt" already`: {Add: []api.TokenFile{{Audience: "mine"}}},
		"1 to 512":                  {Add: []api.TokenFile{{}}},
		"the gateway writes it":     {Add: []api.TokenFile{{Audience: "x", File: "sandbox.jwt"}}},
		"too short":                 {Add: []api.TokenFile{{Audience: "x", TTL: 15 * time.Second}}},
		"too long":                  {Add: []api.TokenFile{{Audience: "x", TTL: 25 * time.Hour}}},
		"can't be signed":           {Add: []api.TokenFile{{Audience: "x", Algorithm: "HS256"}}},
	} {
		_, err := c.Change(ctx, "box", q)
		refused(t, err, api.CodeInvalid, says)
	}
	_, err := c.Change(ctx, "box", api.TokensRequest{Drop: []string{"https://a", "nope"}})
	refused(t, err, api.CodeNotFound, `no token "nope"`)
	_, err = w.client.Shares.Put(ctx, "box", api.FilesRequest{Files: map[string][]byte{"a.jwt": nil}})
	refused(t, err, api.CodeInvalid, `"a.jwt" can't be used: a token for another audience has it`)
	_, err = w.client.Shares.Put(ctx, "box", api.FilesRequest{Files: map[string][]byte{"a.jwt/x": nil}})
	refused(t, err, api.CodeInvalid, `"a.jwt/x" can't be used: a token for another audience has it`)
	if now := w.get("box"); now.Token.Generation != generation || len(now.Tokens.Files) != 3 {
		t.Errorf("what was refused changed it: %+v", now.Tokens)
	}

	mend := w.breakShare(own)
	if _, err := add("agent", api.TokenFile{Audience: "late"}); err == nil {
		t.Error("a token is added to a share that can't be published")
	}
	if s := w.shareOf("agent"); len(s.Tokens.Files) != 3 {
		t.Errorf("a failed change stays in the record: %+v", s.Tokens)
	}
	mend()
	_, err = c.Change(ctx, "agent", api.TokensRequest{Drop: []string{"https://a", "b.jwt"}})
	w.must(err)
	w.audiencesIn(own.Dir, map[string]string{"aws.jwt": "sts.amazonaws.com"})
	w.stop()
	w.run()
	if s := w.shareOf("agent"); len(s.Tokens.Files) != 1 || s.Tokens.Identity != "agent" {
		t.Errorf("after a restart: %+v", s.Tokens)
	}
	_, err = w.client.Stop(ctx, "box", 0)
	w.must(err)
	if s, err := add("agent", api.TokenFile{Audience: "short", TTL: time.Minute}); err != nil || len(w.shareOf("agent").Warnings) != 1 {
		t.Errorf("%+v is not warned of: %v", s.Warnings, err)
	}
	if _, err := c.Change(ctx, "agent", api.TokensRequest{Drop: []string{"short"}}); err != nil || len(w.shareOf("agent").Warnings) != 0 {
		t.Errorf("there is a warning of what was dropped: %+v, %v", w.shareOf("agent").Warnings, err)
	}
	if s, err := w.client.Tokens.Change(ctx, "box", api.TokensRequest{Drop: []string{"aws.jwt", "b", "https://a"}}); err != nil || len(s.Tokens.Files) != 0 {
		t.Errorf("of a stopped sandbox: %+v, %v", s.Tokens, err)
	}
	w.put("box", nil, "mine.jwt")
	w.audiencesIn(box.Share, nil)
}
