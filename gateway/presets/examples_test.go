package presets

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/vocab"
	"openshell-vm/tokens"
)

// examples is where each provider has a page and the files that belong to it. All of them have
// one issuer and one trust domain, those of examples/gateway.toml, and the identity agent.
const examples = "../../examples/federation"

var (
	issuer  = regexp.MustCompile(`(?m)^issuer = "(.*)"`)
	domain  = regexp.MustCompile(`(?m)^trust-domain = "(.*)"`)
	command = regexp.MustCompile(`--token ([a-z]+:[^\s` + "`" + `]+)`)
	sub     = regexp.MustCompile(`spiffe://[^\s"'` + "`" + `]*`)
)

func example(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(examples, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// one returns the only thing that the expression finds in examples/gateway.toml.
func one(t *testing.T, exp *regexp.Regexp) string {
	t.Helper()
	found := exp.FindStringSubmatch(example(t, "../gateway.toml"))
	if found == nil {
		t.Fatalf("examples/gateway.toml has no %v", exp)
	}
	return found[1]
}

// decoded reads a file strictly, and returns the values at the paths, whose parts are divided by
// slashes.
func decoded(t *testing.T, name string) func(path string) any {
	t.Helper()
	var value any
	if err := json.Unmarshal([]byte(example(t, name)), &value); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return func(path string) any {
		at := value
		for _, part := range strings.Split(path, "/") {
			if list, ok := at.([]any); ok && len(list) == 1 {
				at = list[0]
			}
			fields, _ := at.(map[string]any)
			at = fields[part]
		}
		if list, ok := at.([]any); ok && len(list) == 1 {
			at = list[0]
		}
		return at
	}
}

// written returns what the page's first command with the preset asks for, expanded.
func written(t *testing.T, name string) vocab.TokenFile {
	t.Helper()
	for _, m := range command.FindAllStringSubmatch(example(t, name+".md"), -1) {
		preset, parameter, _ := strings.Cut(m[1], ":")
		if preset != name {
			continue
		}
		parameter, _, _ = strings.Cut(strings.ReplaceAll(parameter, "…", "x"), ",")
		f, err := Expand(vocab.TokenFile{Preset: preset, Parameter: parameter})
		if err != nil {
			t.Fatalf("%s.md: --token %s: %v", name, m[1], err)
		}
		return f
	}
	t.Fatalf("%s.md has no command with --token %s:", name, name)
	return vocab.TokenFile{}
}

// TestPages: each provider's page has the audience, the token's file, the variables and the
// algorithm that its preset makes, and the pages that the preset was made from.
func TestPages(t *testing.T) {
	readme := example(t, "README.md")
	for _, name := range api.TokenPresets {
		page, f := example(t, name+".md"), written(t, name)
		want := []string{"/etc/openshell/auth/" + f.File, one(t, issuer), "--identity agent"}
		if name != "gcp" { // the provider's name is the audience
			want = append(want, f.Audience)
		}
		for _, kv := range Env(vocab.Tokens{Files: []vocab.TokenFile{f}}, "/etc/openshell/auth") {
			key, _, _ := strings.Cut(kv, "=")
			want = append(want, "`"+key+"`")
		}
		if f.Algorithm != "" {
			want = append(want, "signed with "+f.Algorithm)
		}
		for _, w := range append(want, Pages(name)[0]) {
			if !strings.Contains(page, w) {
				t.Errorf("%s.md lacks %q", name, w)
			}
		}
		if !strings.Contains(readme, "("+name+".md)") {
			t.Errorf("README.md does not lead to %s.md", name)
		}
	}
}

// TestSubjects: each subject in a page or a file is the one of the identity that the commands
// name.
func TestSubjects(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(examples, "*"))
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	want, found := tokens.IdentitySubject(one(t, domain), "agent"), 0
	sandbox := strings.TrimSuffix(tokens.SandboxSubject(one(t, domain), "ID"), "ID")
	for _, file := range files {
		for _, got := range sub.FindAllString(example(t, filepath.Base(file)), -1) {
			found++
			if got != want && got != strings.TrimSuffix(want, "agent") && got != sandbox+"ID" {
				t.Errorf("%s has the subject %s, not %s", file, got, want)
			}
		}
	}
	if found < 8 {
		t.Errorf("only %d subjects were found", found)
	}
}

// TestFiles: what is given to a provider agrees with what is given to the CLI.
func TestFiles(t *testing.T) {
	url, subject := one(t, issuer), tokens.IdentitySubject(one(t, domain), "agent")
	host := strings.TrimPrefix(url, "https://")
	for _, c := range []struct {
		file string
		want map[string]any
	}{
		{"aws-trust-policy.json", map[string]any{
			"Statement/Principal/Federated":                     "arn:aws:iam::123456789012:oidc-provider/" + host,
			"Statement/Action":                                  "sts:AssumeRoleWithWebIdentity",
			"Statement/Condition/StringEquals/" + host + ":aud": written(t, "aws").Audience,
			"Statement/Condition/StringEquals/" + host + ":sub": subject}},
		{"azure-credential.json", map[string]any{"issuer": url, "subject": subject, "audiences": written(t, "azure").Audience}},
		{"anthropic-issuer.json", map[string]any{"issuer_url": url, "jwks/type": "discovery",
			"max_jwt_lifetime_seconds": 2 * written(t, "anthropic").TTL.Seconds()}},
		{"anthropic-rule.json", map[string]any{"match/audience": written(t, "anthropic").Audience, "match/subject_prefix": subject}},
	} {
		at := decoded(t, c.file)
		for path, want := range c.want {
			if got := at(path); got != want {
				t.Errorf("%s: %s is %v, not %v", c.file, path, got, want)
			}
		}
	}
	made := Files(written(t, "gcp"), "/etc/openshell/auth")
	if len(made) != 1 || string(made[0].Data) != example(t, "gcp-credentials.json") {
		t.Errorf("gcp-credentials.json is not what the preset makes:\n%s", made[0].Data)
	}
}
