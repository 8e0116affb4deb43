package presets

// openai is for Codex, which reads the file anew when it has to. Its pages leave the audience
// to the administrator; the one here is that of their examples. OpenAI's SDKs read no
// variables for this: a program gives them the file's path itself.
var openai = preset{
	name: "openai",
	form: "FEDERATION_RULE",
	pages: []string{
		"https://developers.openai.com/codex/enterprise/workload-identity",
		"https://developers.openai.com/api/docs/guides/workload-identity-federation/kubernetes",
	},
	audience: "https://api.openai.com/v1",
	file:     "openai.jwt",
	check: func(parameter string) bool {
		_, ok := parts(parameter, 1, 1)
		return ok
	},
	env: func(parameter, file string) []string {
		return []string{"OPENAI_IDENTITY_TOKEN_FILE=" + file, "OPENAI_FEDERATION_RULE_ID=" + parameter}
	},
}
