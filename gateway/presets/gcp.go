package presets

import (
	"encoding/json"
	"strings"

	"openshell-vm/internal/vocab"
)

// gcp is for Google's client libraries: a configuration file of the type external_account
// names the token's file. With a service account they take its place, else they act as the
// pool's own principal. Google takes RS256 and ES256.
var gcp = preset{
	name: "gcp",
	form: "projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER[:SERVICE_ACCOUNT_EMAIL]",
	pages: []string{
		"https://google.aip.dev/auth/4117",
		"https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token",
		"https://cloud.google.com/iam/docs/reference/rest/v1/projects.locations.workloadIdentityPools.providers",
	},
	file: "gcp.jwt",
	alg:  "ES256",
	check: func(parameter string) bool {
		provider, account, with := strings.Cut(parameter, ":")
		list, ok := parts(provider, 8, 8)
		return ok && list[0] == "projects" && list[2] == "locations" && list[4] == "workloadIdentityPools" && list[6] == "providers" &&
			(!with || strings.Contains(account, "@") && isWord(account, "@.-_"))
	},
	audienceOf: gcpProvider,
	env: func(_, file string) []string {
		return []string{"GOOGLE_APPLICATION_CREDENTIALS=" + gcpConfig(file)}
	},
	files: func(f vocab.TokenFile, dir string) []File {
		return []File{{Name: gcpConfig(f.File), Data: gcpCredentials(f, dir)}}
	},
}

// gcpProvider is the provider's whole resource name: what the token's audience is, unless
// the provider was made with other ones.
func gcpProvider(parameter string) string {
	provider, _, _ := strings.Cut(parameter, ":")
	return "//iam.googleapis.com/" + provider
}

// gcpConfig is the name of the configuration file that belongs to a token's.
func gcpConfig(file string) string { return strings.TrimSuffix(file, ".jwt") + ".json" }

func gcpCredentials(f vocab.TokenFile, dir string) []byte {
	type source struct {
		File string `json:"file"`
	}
	config := struct {
		Type             string `json:"type"`
		Audience         string `json:"audience"` // of the exchange, not the token's
		SubjectTokenType string `json:"subject_token_type"`
		TokenURL         string `json:"token_url"`
		Impersonation    string `json:"service_account_impersonation_url,omitempty"`
		CredentialSource source `json:"credential_source"`
	}{
		Type: "external_account", Audience: gcpProvider(f.Parameter), SubjectTokenType: "urn:ietf:params:oauth:token-type:jwt",
		TokenURL: "https://sts.googleapis.com/v1/token", CredentialSource: source{dir + "/" + f.File},
	}
	if _, account, with := strings.Cut(f.Parameter, ":"); with {
		config.Impersonation = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/" + account + ":generateAccessToken"
	}
	data, _ := json.MarshalIndent(config, "", "  ") // strings only: it can't fail
	return append(data, '\n')
}
