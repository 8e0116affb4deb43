package presets

import "time"

// azure is for Azure's SDKs: WorkloadIdentityCredential, which DefaultAzureCredential tries.
// Entra takes RSA signatures only; it names the ones that it supports when it refuses another.
// AZURE_AUTHORITY_HOST is left out: the SDKs have the public cloud's by default. The SDK for Go
// sends what it read for 10 minutes, that for JavaScript for 5: Kubernetes' tokens live for an
// hour at least. This one lives an hour, too, whatever sandbox.jwt does.
var azure = preset{
	name: "azure",
	form: "TENANT/CLIENT",
	pages: []string{
		"https://azure.github.io/azure-workload-identity/docs/installation/mutating-admission-webhook.html",
		"https://learn.microsoft.com/en-us/powershell/module/az.resources/new-azadappfederatedcredential",
		"https://learn.microsoft.com/en-us/python/api/azure-identity/azure.identity.workloadidentitycredential",
		"https://github.com/Azure/azure-sdk-for-go/blob/main/sdk/azidentity/workload_identity.go",
	},
	audience: "api://AzureADTokenExchange",
	file:     "azure.jwt",
	alg:      "RS256",
	ttl:      time.Hour,
	check: func(parameter string) bool {
		_, ok := parts(parameter, 2, 2)
		return ok
	},
	env: func(parameter, file string) []string {
		list, _ := parts(parameter, 2, 2)
		return []string{"AZURE_FEDERATED_TOKEN_FILE=" + file, "AZURE_TENANT_ID=" + list[0], "AZURE_CLIENT_ID=" + list[1]}
	},
}
