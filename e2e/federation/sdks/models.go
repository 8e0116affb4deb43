//go:build models

package main

import (
	"context"
	"os"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/auth"
	"github.com/openai/openai-go/v3/option"
)

var models = map[string]maker{"anthropic": anthropicCaller, "openai": openaiCaller}

// anthropicCaller lists models with the credentials that the environment tells.
func anthropicCaller(context.Context) (caller, error) {
	client := anthropic.NewClient()
	return func(ctx context.Context) error {
		_, err := client.Models.List(ctx, anthropic.ModelListParams{})
		return err
	}, nil
}

// openaiCaller lists models. OpenAI's libraries have no variables for this: a program names the
// file, the identity provider and the service account. Their reader of Kubernetes' token file
// reads any file.
func openaiCaller(context.Context) (caller, error) {
	client := openai.NewClient(option.WithWorkloadIdentity(auth.WorkloadIdentity{
		IdentityProviderID: "idp_test",
		ServiceAccountID:   "user-test",
		Provider:           auth.K8sServiceAccountTokenProvider(os.Getenv("OPENAI_IDENTITY_TOKEN_FILE")),
	}))
	return func(ctx context.Context) error {
		_, err := client.Models.List(ctx)
		return err
	}, nil
}
