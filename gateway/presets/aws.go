package presets

import "strings"

// aws is for AWS' SDKs and its CLI, which call AssumeRoleWithWebIdentity with the file's token.
// Some of them read the file once: the overlap of old and new tokens is for them. STS takes
// RSA and, since 2024, ECDSA. IAM leaves the audience to who registers the issuer; this one is
// what AWS' own webhook for pods has by default.
var aws = preset{
	name: "aws",
	form: "ROLE_ARN",
	pages: []string{
		"https://docs.aws.amazon.com/sdkref/latest/guide/feature-assume-role-credentials.html",
		"https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_create_oidc.html",
		"https://github.com/aws/amazon-eks-pod-identity-webhook",
		"https://amazonaws.cn/en/new/2024/announcing-amazon-sts-support-for-ecdsa-based-signatures-of-oidc-tokens",
	},
	audience: "sts.amazonaws.com",
	file:     "aws.jwt",
	alg:      "ES256",
	check: func(parameter string) bool {
		return strings.HasPrefix(parameter, "arn:") && strings.Contains(parameter, ":role/") && isWord(parameter, ":/+=,.@-_")
	},
	env: func(parameter, file string) []string {
		return []string{"AWS_WEB_IDENTITY_TOKEN_FILE=" + file, "AWS_ROLE_ARN=" + parameter}
	},
}
