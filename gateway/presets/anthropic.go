package presets

import "time"

// anthropic is for Anthropic's SDKs and Claude Code. They exchange the file's token and read
// the file anew for each exchange. The audience is what the pages recommend; the federation
// rule has to name it. A jti is taken once for each issuer, and tokens without one are exempt:
// several processes read one file, so there is none. By default Anthropic takes tokens that
// live up to one hour; this one lives half of that.
var anthropic = preset{
	name: "anthropic",
	form: "RULE/ORGANIZATION/SERVICE_ACCOUNT[/WORKSPACE]",
	pages: []string{
		"https://platform.claude.com/docs/en/manage-claude/wif-reference",
		"https://platform.claude.com/docs/en/manage-claude/workload-identity-federation",
	},
	audience: "https://api.anthropic.com",
	file:     "anthropic.jwt",
	alg:      "ES256", // or RS256; not EdDSA
	ttl:      30 * time.Minute,
	noID:     true,
	check: func(parameter string) bool {
		_, ok := parts(parameter, 3, 4)
		return ok
	},
	env: func(parameter, file string) []string {
		list, _ := parts(parameter, 3, 4)
		env := []string{
			"ANTHROPIC_IDENTITY_TOKEN_FILE=" + file,
			"ANTHROPIC_FEDERATION_RULE_ID=" + list[0],
			"ANTHROPIC_ORGANIZATION_ID=" + list[1],
			"ANTHROPIC_SERVICE_ACCOUNT_ID=" + list[2],
		}
		if len(list) == 4 {
			env = append(env, "ANTHROPIC_WORKSPACE_ID="+list[3])
		}
		return env
	},
}
