package main

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
)

// assumed is STS's answer:
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html.
type assumed struct {
	Result struct {
		Credentials struct {
			AccessKeyId, SecretAccessKey, SessionToken, Expiration string
		}
	} `xml:"AssumeRoleWithWebIdentityResult"`
	Error struct{ Code, Message string }
}

// aws is a credential process:
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html. It asks STS,
// with a token for the audience, for the role that AWS_ROLE_ARN names.
func aws(ctx context.Context, c call) error {
	role := os.Getenv("AWS_ROLE_ARN")
	if role == "" {
		return errors.New("AWS_ROLE_ARN names no role to assume")
	}
	a, err := ask(ctx, c.audience)
	if err != nil {
		return err
	}
	got, err := assume(ctx, role, a.Token)
	if err != nil {
		return err
	}
	keys := got.Result.Credentials
	return json.NewEncoder(c.out).Encode(map[string]any{"Version": 1, "AccessKeyId": keys.AccessKeyId,
		"SecretAccessKey": keys.SecretAccessKey, "SessionToken": keys.SessionToken, "Expiration": keys.Expiration})
}

func assume(ctx context.Context, role, token string) (*assumed, error) {
	body := url.Values{"Action": {"AssumeRoleWithWebIdentity"}, "Version": {"2011-06-15"}, "RoleArn": {role},
		"RoleSessionName": {orUsual("AWS_ROLE_SESSION_NAME", "openshell")}, "WebIdentityToken": {token}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint(), strings.NewReader(body.Encode()))
	if err != nil {
		return nil, errors.New("AWS_ENDPOINT_URL_STS is no address")
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request) // no other host gets the token
	if err != nil {
		return nil, fmt.Errorf("STS does not answer: %w", cause(err))
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("STS's answer breaks off: %w", err)
	}
	got := &assumed{}
	switch err := xml.Unmarshal(text, got); {
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("STS refuses: %s (%s, %s)", got.Error.Message, got.Error.Code, response.Status)
	case err != nil || got.Result.Credentials.SecretAccessKey == "":
		return nil, errors.New("STS's answer holds no credentials")
	}
	return got, nil
}

// endpoint is the region's own, as the SDKs take it by default since 2025; without a region it is
// the global one.
func endpoint() string {
	if address := os.Getenv("AWS_ENDPOINT_URL_STS"); address != "" {
		return address
	}
	if region := orUsual("AWS_REGION", os.Getenv("AWS_DEFAULT_REGION")); region != "" {
		return "https://sts." + region + ".amazonaws.com/"
	}
	return "https://sts.amazonaws.com/"
}
