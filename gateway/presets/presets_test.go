package presets

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/vocab"
)

const pool = "projects/123/locations/global/workloadIdentityPools/p/providers/q"

// TestPresets: what each writes down is all that its SDK reads.
func TestPresets(t *testing.T) {
	for _, c := range []struct {
		preset, parameter   string
		audience, file, alg string
		noID                bool
		env                 string
	}{
		{"anthropic", "fdrl_1/0000-1/svac_2", "https://api.anthropic.com", "anthropic.jwt", "ES256", true,
			"ANTHROPIC_IDENTITY_TOKEN_FILE=/etc/openshell/auth/anthropic.jwt ANTHROPIC_FEDERATION_RULE_ID=fdrl_1 ANTHROPIC_ORGANIZATION_ID=0000-1 " +
				"ANTHROPIC_SERVICE_ACCOUNT_ID=svac_2"},
		{"anthropic", "fdrl_1/0/svac_2/wrkspc_3", "https://api.anthropic.com", "anthropic.jwt", "ES256", true,
			"ANTHROPIC_IDENTITY_TOKEN_FILE=/etc/openshell/auth/anthropic.jwt ANTHROPIC_FEDERATION_RULE_ID=fdrl_1 ANTHROPIC_ORGANIZATION_ID=0 " +
				"ANTHROPIC_SERVICE_ACCOUNT_ID=svac_2 ANTHROPIC_WORKSPACE_ID=wrkspc_3"},
		{"openai", "idpm_1", "https://api.openai.com/v1", "openai.jwt", "", false,
			"OPENAI_IDENTITY_TOKEN_FILE=/etc/openshell/auth/openai.jwt OPENAI_FEDERATION_RULE_ID=idpm_1"},
		{"aws", "arn:aws:iam::123456789012:role/ci/build", "sts.amazonaws.com", "aws.jwt", "ES256", false,
			"AWS_WEB_IDENTITY_TOKEN_FILE=/etc/openshell/auth/aws.jwt AWS_ROLE_ARN=arn:aws:iam::123456789012:role/ci/build"},
		{"gcp", pool, "//iam.googleapis.com/" + pool, "gcp.jwt", "ES256", false, "GOOGLE_APPLICATION_CREDENTIALS=/etc/openshell/auth/gcp.json"},
		{"azure", "11-22/33-44", "api://AzureADTokenExchange", "azure.jwt", "RS256", false,
			"AZURE_FEDERATED_TOKEN_FILE=/etc/openshell/auth/azure.jwt AZURE_TENANT_ID=11-22 AZURE_CLIENT_ID=33-44"},
	} {
		f, err := Expand(vocab.TokenFile{Preset: c.preset, Parameter: c.parameter})
		if err != nil {
			t.Errorf("%s: %v", c.preset, err)
			continue
		}
		if f.Audience != c.audience || f.File != c.file || f.Algorithm != c.alg || f.NoID != c.noID {
			t.Errorf("%s: %+v", c.preset, f)
		}
		if got := strings.Join(Env(vocab.Tokens{Files: []vocab.TokenFile{f}}, "/etc/openshell/auth"), " "); got != c.env {
			t.Errorf("%s: %s\nwant %s", c.preset, got, c.env)
		}
		if again, err := Expand(f); err != nil || again != f {
			t.Errorf("%s: expanded twice: %+v, %v", c.preset, again, err)
		}
	}
	own := vocab.TokenFile{Preset: "aws", Parameter: "arn:aws:iam::1:role/r", Audience: "mine", File: "f", Algorithm: "RS256", TTL: 1}
	if f, err := Expand(own); err != nil || f != own {
		t.Errorf("what the user gave is replaced: %+v, %v", f, err)
	}
}

// TestLasting: a token that its SDK goes on sending after a renewal is good for that long, whatever
// lifetime the sandbox has. A user's own is taken.
func TestLasting(t *testing.T) {
	const keeps = 10 * time.Minute // what Azure's SDK for Go reads is sent for that long
	f, err := Expand(vocab.TokenFile{Preset: "azure", Parameter: "t/c"})
	if left := f.TTL * 45 / 100; err != nil || left < keeps {
		t.Errorf("azure: %v are left at a renewal, %v", left, err)
	}
	if f, _ := Expand(vocab.TokenFile{Preset: "azure", Parameter: "t/c", TTL: time.Minute}); f.TTL != time.Minute {
		t.Errorf("azure: %v", f.TTL)
	}
}

// TestGoogle: the configuration file is what AIP-4117 says.
func TestGoogle(t *testing.T) {
	f, err := Expand(vocab.TokenFile{Preset: "gcp", Parameter: pool + ":sa@p.iam.gserviceaccount.com", File: "mine.jwt"})
	if err != nil {
		t.Fatal(err)
	}
	files := Files(f, "/etc/openshell/auth")
	if len(files) != 1 || files[0].Name != "mine.json" {
		t.Fatalf("%+v", files)
	}
	var config map[string]any
	if err := json.Unmarshal(files[0].Data, &config); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"type": "external_account", "audience": "//iam.googleapis.com/" + pool, "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
		"token_url": "https://sts.googleapis.com/v1/token",
		"service_account_impersonation_url": "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/" +
			"sa@p.iam.gserviceaccount.com:generateAccessToken",
	} {
		if config[key] != want {
			t.Errorf("%s is %v, not %s", key, config[key], want)
		}
	}
	if source, _ := config["credential_source"].(map[string]any); source["file"] != "/etc/openshell/auth/mine.jwt" || len(config) != 6 {
		t.Errorf("%v", config)
	}
	plain, _ := Expand(vocab.TokenFile{Preset: "gcp", Parameter: pool})
	if strings.Contains(string(Files(plain, "/etc/openshell/auth")[0].Data), "impersonation") {
		t.Error("a service account comes from nowhere")
	}
}

// TestTable: the API's list is the table, and each row names its pages.
func TestTable(t *testing.T) {
	var names []string
	for _, p := range table {
		names = append(names, p.name)
		if len(p.pages) == 0 || !strings.HasPrefix(p.pages[0], "https://") || p.file == "" || p.form == "" {
			t.Errorf("%s is not complete", p.name)
		}
	}
	if !slices.Equal(names, api.TokenPresets) {
		t.Errorf("the table has %v, the API %v", names, api.TokenPresets)
	}
}

// TestMalformed: a parameter can't leave its variable.
func TestMalformed(t *testing.T) {
	for _, c := range []struct{ preset, parameter string }{
		{"anthropic", "fdrl_1"}, {"anthropic", "a//b"}, {"anthropic", "a/b/c/d/e"}, {"anthropic", "a/b/c\nX=y"},
		{"openai", ""}, {"openai", "a/b"}, {"openai", "a b"},
		{"aws", ""}, {"aws", "role/x"}, {"aws", "arn:aws:iam::1:user/x"}, {"aws", "arn:aws:iam::1:role/x\x00"},
		{"aws", "arn:aws:iam::1:role/" + strings.Repeat("x", 512)},
		{"gcp", "projects/1"}, {"gcp", pool + ":"}, {"gcp", pool + ":sa"}, {"gcp", pool + `:sa@x",`}, {"gcp", strings.Replace(pool, "providers", "provider", 1)},
		{"azure", "t"}, {"azure", "t/c/x"}, {"azure", "t/"},
	} {
		_, err := Expand(vocab.TokenFile{Preset: c.preset, Parameter: c.parameter})
		var e *api.Error
		if !errors.As(err, &e) || !strings.Contains(e.Message, "malformed") || !strings.Contains(e.Hint, "https://") {
			t.Errorf("%s:%q: %v", c.preset, c.parameter, err)
		}
	}
}
