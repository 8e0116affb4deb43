package main

import (
	"context"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
)

// awsCaller asks STS who it is, with the credentials of the default chain.
func awsCaller(ctx context.Context) (caller, error) {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, err
	}
	client := sts.NewFromConfig(cfg)
	return func(ctx context.Context) error {
		_, err := client.GetCallerIdentity(ctx, nil)
		return err
	}, nil
}

// gcpCaller calls an API with application default credentials.
func gcpCaller(ctx context.Context) (caller, error) {
	found, err := google.FindDefaultCredentials(ctx, "https://www.googleapis.com/auth/cloud-platform")
	if err != nil {
		return nil, err
	}
	client := oauth2.NewClient(ctx, found.TokenSource)
	return func(ctx context.Context) error { return get(ctx, client, "https://storage.googleapis.com/echo", nil) }, nil
}

// azureCaller calls an API with what DefaultAzureCredential finds.
func azureCaller(context.Context) (caller, error) {
	credential, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		token, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{"https://management.azure.com/.default"}})
		if err != nil {
			return err
		}
		return get(ctx, http.DefaultClient, "https://management.azure.com/echo", http.Header{"Authorization": {"Bearer " + token.Token}})
	}, nil
}
