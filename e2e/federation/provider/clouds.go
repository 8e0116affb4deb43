package provider

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// want is a parameter of a request that has to have a value.
type want struct{ name, got, want string }

func mismatch(all ...want) error {
	for _, w := range all {
		if w.got != w.want {
			return fmt.Errorf("%s is %.80q, not %q", w.name, w.got, w.want)
		}
	}
	return nil
}

func reply(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // who asked may have left
}

// bearer returns the access in a request's header.
func bearer(r *http.Request) string {
	access, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return access
}

// api answers a call to a provider's API.
func (p *Provider) api(w http.ResponseWriter, r *http.Request, name string, body any) {
	if err := p.called(name, bearer(r)); err != nil {
		reply(w, http.StatusUnauthorized, map[string]any{
			"error": map[string]any{"code": 401, "type": "authentication_error", "message": err.Error()}})
		return
	}
	reply(w, http.StatusOK, body)
}

const stsXML = "https://sts.amazonaws.com/doc/2011-06-15/"

// aws is STS: AssumeRoleWithWebIdentity and GetCallerIdentity.
func (p *Provider) aws(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/xml")
	fail := func(code string, status int, err error) {
		w.WriteHeader(status)
		text := strings.NewReplacer("<", "", "&", "").Replace(err.Error())
		fmt.Fprintf(w, `<ErrorResponse xmlns="%s"><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error>`+
			`<RequestId>0</RequestId></ErrorResponse>`, stsXML, code, text)
	}
	switch r.PostFormValue("Action") {
	case "AssumeRoleWithWebIdentity":
		if err := mismatch(want{"RoleArn", r.PostFormValue("RoleArn"), Role}); err != nil {
			p.refuse("aws", err)
			fail("AccessDenied", http.StatusForbidden, err)
			return
		}
		access, err := p.exchange("aws", r.PostFormValue("WebIdentityToken"))
		if err != nil {
			fail("InvalidIdentityToken", http.StatusBadRequest, err)
			return
		}
		ends := time.Now().Add(p.options.Access).UTC().Format(time.RFC3339)
		fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="%s"><AssumeRoleWithWebIdentityResult><Credentials>`+
			`<AccessKeyId>ASIA%.16s</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>%s</SessionToken>`+
			`<Expiration>%s</Expiration></Credentials><AssumedRoleUser><AssumedRoleId>AROA:s</AssumedRoleId><Arn>%s</Arn>`+
			`</AssumedRoleUser></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, stsXML, access, access, ends, Role)
	case "GetCallerIdentity":
		if err := p.called("aws", r.Header.Get("X-Amz-Security-Token")); err != nil {
			fail("ExpiredToken", http.StatusForbidden, err)
			return
		}
		fmt.Fprintf(w, `<GetCallerIdentityResponse xmlns="%s"><GetCallerIdentityResult><Arn>%s</Arn><UserId>AROA:s</UserId>`+
			`<Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`, stsXML, Role)
	default:
		p.refuse("aws", fmt.Errorf("unknown action %.40q", r.PostFormValue("Action")))
		fail("InvalidAction", http.StatusBadRequest, errors.New("unknown action"))
	}
}

// googleSTS exchanges tokens (RFC 8693).
func (p *Provider) googleSTS(w http.ResponseWriter, r *http.Request) {
	fail := func(err error) {
		reply(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant", "error_description": err.Error()})
	}
	err := mismatch(want{"the path", r.URL.Path, "/v1/token"},
		want{"grant_type", r.PostFormValue("grant_type"), "urn:ietf:params:oauth:grant-type:token-exchange"},
		want{"audience", r.PostFormValue("audience"), "//iam.googleapis.com/" + Pool},
		want{"subject_token_type", r.PostFormValue("subject_token_type"), "urn:ietf:params:oauth:token-type:jwt"},
		want{"requested_token_type", r.PostFormValue("requested_token_type"), "urn:ietf:params:oauth:token-type:access_token"})
	if err != nil {
		p.refuse("gcp", err)
		fail(err)
		return
	}
	access, err := p.exchange("gcp", r.PostFormValue("subject_token"))
	if err != nil {
		fail(err)
		return
	}
	reply(w, http.StatusOK, map[string]any{"access_token": access, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
		"token_type": "Bearer", "expires_in": p.seconds()})
}

// googleIAM lets the pool's principal take a service account's place.
func (p *Provider) googleIAM(w http.ResponseWriter, r *http.Request) {
	err := mismatch(want{"the path", r.URL.Path, "/v1/projects/-/serviceAccounts/" + Account + ":generateAccessToken"})
	if err != nil {
		p.refuse("gcp", err)
	} else {
		err = p.called("gcp", bearer(r))
	}
	if err != nil {
		reply(w, http.StatusForbidden, map[string]any{"error": map[string]any{"code": 403, "message": err.Error()}})
		return
	}
	p.mu.Lock()
	access := p.grant("gcp")
	p.mu.Unlock()
	ends := time.Now().Add(p.options.Access).UTC().Format(time.RFC3339)
	reply(w, http.StatusOK, map[string]string{"accessToken": access, "expireTime": ends})
}

// googleProject tells a project's id, which the library for JavaScript asks for.
func (p *Provider) googleProject(w http.ResponseWriter, r *http.Request) {
	p.api(w, r, "gcp", map[string]string{"projectId": "example"})
}

func (p *Provider) googleAPI(w http.ResponseWriter, r *http.Request) {
	p.api(w, r, "gcp", map[string]string{"caller": Account})
}

// entra answers what MSAL asks first, and takes client assertions (RFC 7523).
func (p *Provider) entra(w http.ResponseWriter, r *http.Request) {
	const authority = "https://login.microsoftonline.com/" + Tenant
	switch r.URL.Path {
	case "/common/discovery/instance":
		aliases := []string{"login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net"}
		reply(w, http.StatusOK, map[string]any{
			"tenant_discovery_endpoint": authority + "/v2.0/.well-known/openid-configuration", "api-version": "1.1",
			"metadata": []any{map[string]any{"preferred_network": aliases[0], "preferred_cache": aliases[1], "aliases": aliases}}})
	case "/" + Tenant + "/v2.0/.well-known/openid-configuration":
		reply(w, http.StatusOK, map[string]any{
			"issuer": authority + "/v2.0", "authorization_endpoint": authority + "/oauth2/v2.0/authorize",
			"token_endpoint": authority + "/oauth2/v2.0/token", "jwks_uri": authority + "/discovery/v2.0/keys"})
	case "/" + Tenant + "/oauth2/v2.0/token":
		p.assertion(w, r)
	default:
		p.refuse("azure", fmt.Errorf("%s was asked for", r.URL.Path))
		http.NotFound(w, r)
	}
}

func (p *Provider) assertion(w http.ResponseWriter, r *http.Request) {
	err := mismatch(want{"grant_type", r.PostFormValue("grant_type"), "client_credentials"},
		want{"client_id", r.PostFormValue("client_id"), Client},
		want{"client_assertion_type", r.PostFormValue("client_assertion_type"), "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"})
	var access string
	if err != nil {
		p.refuse("azure", err)
	} else {
		access, err = p.exchange("azure", r.PostFormValue("client_assertion"))
	}
	if err != nil {
		reply(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client", "error_description": "AADSTS700000: " + err.Error()})
		return
	}
	reply(w, http.StatusOK, map[string]any{"token_type": "Bearer", "access_token": access,
		"expires_in": p.seconds(), "ext_expires_in": p.seconds()})
}

func (p *Provider) azureAPI(w http.ResponseWriter, r *http.Request) {
	p.api(w, r, "azure", map[string]string{"caller": Client})
}
