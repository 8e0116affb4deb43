package provider

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// posted decodes a JSON object of strings. What is no string is left out.
func posted(r *http.Request) map[string]string {
	var body map[string]any
	_ = json.NewDecoder(r.Body).Decode(&body) // an empty one lacks everything
	fields := map[string]string{}
	for key, value := range body {
		if text, ok := value.(string); ok {
			fields[key] = text
		}
	}
	return fields
}

// anthropic exchanges tokens (RFC 7523) and lists models.
func (p *Provider) anthropic(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/v1/oauth/token":
		body := posted(r)
		p.given(w, "anthropic", body["assertion"],
			want{"grant_type", body["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer"},
			want{"federation_rule_id", body["federation_rule_id"], Rule},
			want{"organization_id", body["organization_id"], Organization},
			want{"service_account_id", body["service_account_id"], ServiceAccount})
	case "/v1/models":
		p.api(w, r, "anthropic", map[string]any{"data": []any{}, "has_more": false, "first_id": nil, "last_id": nil})
	default:
		p.refuse("anthropic", fmt.Errorf("%s was asked for", r.URL.Path))
		http.NotFound(w, r)
	}
}

// What a program has to name of OpenAI itself: its SDKs read no variables for it.
const (
	OpenAIProvider = "idp_test"
	OpenAIAccount  = "user-test"
)

// openaiAuth exchanges tokens (RFC 8693).
func (p *Provider) openaiAuth(w http.ResponseWriter, r *http.Request) {
	body := posted(r)
	p.given(w, "openai", body["subject_token"], want{"the path", r.URL.Path, "/oauth/token"},
		want{"grant_type", body["grant_type"], "urn:ietf:params:oauth:grant-type:token-exchange"},
		want{"subject_token_type", body["subject_token_type"], "urn:ietf:params:oauth:token-type:jwt"},
		want{"identity_provider_id", body["identity_provider_id"], OpenAIProvider},
		want{"service_account_id", body["service_account_id"], OpenAIAccount})
}

func (p *Provider) openaiAPI(w http.ResponseWriter, r *http.Request) {
	p.api(w, r, "openai", map[string]any{"object": "list", "data": []any{}})
}

// given exchanges a token that came with the right parameters.
func (p *Provider) given(w http.ResponseWriter, name, token string, parameters ...want) {
	err := mismatch(parameters...)
	var access string
	if err != nil {
		p.refuse(name, err)
	} else {
		access, err = p.exchange(name, token)
	}
	if err != nil {
		reply(w, http.StatusUnauthorized, map[string]string{"error": "invalid_grant", "error_description": err.Error()})
		return
	}
	reply(w, http.StatusOK, map[string]any{"access_token": access, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
		"token_type": "Bearer", "expires_in": p.seconds()})
}
