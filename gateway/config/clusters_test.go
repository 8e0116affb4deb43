package config

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// twoClusters is a file whose lines are counted by the tests.
const twoClusters = `issuer = "https://tokens.example.org"
listen = "127.0.0.1:8443"

[clusters.prod]
issuer = "https://kubernetes.default.svc.cluster.local"
server = "https://10.0.0.1:6443"
ca = "/etc/prod-ca.crt"
token-file = "/etc/prod-token"
check = "token-review"

[[clusters.prod.allow]]
namespace = "agents"
service-account = "runner"
audiences = ["https://api.anthropic.com", "b"]

[[clusters.prod.allow]]
namespace = "ci"
service-account = "*"
audiences = ["sts.amazonaws.com"]
alg = "RS256"
jti = false

[clusters.test]
issuer = "https://kubernetes.default.svc.cluster.local"
audience = "https://tokens.example.org/test"
`

// TestClusters: what is not said has its default, and each value says where it came from.
func TestClusters(t *testing.T) {
	path := write(t, twoClusters)
	c, err := ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range c.Settings() {
		if strings.HasPrefix(s.Name, "clusters.") {
			got = append(got, s.Name+" = "+s.Value+" # "+strings.TrimPrefix(s.Origin, path+":"))
		}
		if s.Name == "issuer" && s.Origin != path+":1" {
			t.Errorf("the gateway's issuer is from %s", s.Origin)
		}
	}
	want := []string{
		"clusters.prod.issuer = https://kubernetes.default.svc.cluster.local # 5",
		"clusters.prod.audience = https://tokens.example.org # default",
		"clusters.prod.server = https://10.0.0.1:6443 # 6",
		"clusters.prod.ca = /etc/prod-ca.crt # 7",
		"clusters.prod.token-file = /etc/prod-token # 8",
		"clusters.prod.check = token-review # 9",
		"clusters.prod.allow[1] = agents/runner: https://api.anthropic.com, b # 11",
		"clusters.prod.allow[2] = ci/*: sts.amazonaws.com (RS256) (no jti) # 16",
		"clusters.test.issuer = https://kubernetes.default.svc.cluster.local # 24",
		"clusters.test.audience = https://tokens.example.org/test # 25",
		"clusters.test.server = https://kubernetes.default.svc.cluster.local # default",
		"clusters.test.ca =  # default",
		"clusters.test.token-file =  # default",
		"clusters.test.check = jwks # default",
	}
	if !slices.Equal(got, want) {
		t.Errorf("shown:\n%s", strings.Join(got, "\n"))
	}
	if lines := c.Warnings(); len(lines) != 1 || !strings.Contains(lines[0], "clusters.test allows nothing") {
		t.Errorf("%q", lines)
	}
	without, err := ReadFile(write(t, strings.Split(twoClusters, "\n[clusters.test]")[0]))
	if err != nil {
		t.Fatal(err)
	}
	if changed := without.Changed(c); len(changed) != 6 || changed[0].Name != "clusters.test.issuer" || changed[0].Value != "" {
		t.Errorf("one that is taken away: %+v", changed)
	}
	if changed := c.Changed(without); len(changed) != 6 || changed[0].Value != "https://kubernetes.default.svc.cluster.local" {
		t.Errorf("one that is added: %+v", changed)
	}
	if lines := mustRead(t, "[clusters.a]\nissuer = \"https://x\"\naudience = \"y\"\n").Warnings(); len(lines) != 3 {
		t.Errorf("without listen and issuer: %q", lines)
	}
}

func mustRead(t *testing.T, text string) *Config {
	t.Helper()
	c, err := ReadFile(write(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestClustersRefused: what is wrong in a cluster's table is told with its line and what to do.
func TestClustersRefused(t *testing.T) {
	mustRead(t, twoClusters)
	for _, c := range []struct{ old, new, line, message, hint string }{
		{`[clusters.prod]`, `[clusters.Prod]`, "4", "can't be a cluster's name", "lower case"},
		{`[clusters.prod]`, `[clusters."a.b"]`, "4", "can't be a cluster's name", "lower case"},
		{`[clusters.prod]`, `[clusers.prod]`, "4", `no setting "clusers.prod`, "did you mean clusters?"},
		{"issuer = \"https://kubernetes", "isuer = \"https://kubernetes", "5", "no setting \"clusters.prod.isuer\"", "did you mean issuer?"},
		{"issuer = \"https://kubernetes.default.svc.cluster.local\"\nserver", "server", "4", "clusters.prod.issuer: \"\" is no https URL", "a URL such as"},
		{"https://kubernetes.default.svc.cluster.local\"\nserver", "http://kubernetes\"\nserver", "5", "no https URL", "a URL such as"},
		{"https://kubernetes.default.svc.cluster.local\"\nserver", "https://tokens.example.org\"\nserver", "5", "the gateway's own", "a URL such as"},
		{"https://10.0.0.1:6443", "10.0.0.1:6443", "6", "no https URL", "a URL such as"},
		{"https://10.0.0.1:6443", "https://u:p@10.0.0.1", "6", "no https URL", "a URL such as"},
		{"https://10.0.0.1:6443", "https://10.0.0.1/?x=y", "6", "no https URL", "a URL such as"},
		{`"https://10.0.0.1:6443"`, "6443", "6", "clusters.prod.server has a value of another kind", "a URL such as"},
		{"/etc/prod-ca.crt", "prod-ca.crt", "7", "no absolute path", "a PEM file"},
		{"token-file = \"/etc/prod-token\"\n", "", "4", "token-file: there is none", "a file"},
		{`"token-review"`, `"tokenreview"`, "9", "neither jwks nor token-review", `"jwks" or`},
		{"[[clusters.prod.allow]]\nnamespace = \"agents\"", "[[clusters.prod.alow]]\nnamespace = \"agents\"", "11", "no setting", "did you mean allow?"},
		{"[[clusters.prod.allow]]\nnamespace = \"agents\"", "[[clusters.prod.allow]]\nnamespce = \"agents\"", "12", "no setting", "did you mean namespace?"},
		{`"agents"`, `"*"`, "12", "no name of a namespace", "a namespace"},
		{`"agents"`, `7`, "12", "clusters.prod.allow.namespace has a value of another kind", "a namespace"},
		{`"runner"`, `"a/b"`, "13", "no name of a ServiceAccount", "for all of the namespace"},
		{`"*"`, `""`, "18", "clusters.prod.allow[2].service-account", "for all of the namespace"},
		{`["sts.amazonaws.com"]`, `[]`, "19", "there are none", "a list such as"},
		{`["sts.amazonaws.com"]`, `"sts.amazonaws.com"`, "19", "another kind", "a list such as"},
		{`["sts.amazonaws.com"]`, `["openshell-gateway:abc"]`, "19", "a gateway's own", "a list such as"},
		{`["sts.amazonaws.com"]`, `["a b"]`, "19", "can't be an audience", "a list such as"},
		{`"RS256"`, `"HS256"`, "20", "can't be signed with \"HS256\"", "ES256"},
		{"audience = \"https://tokens.example.org/test\"\n", "", "23", "whose of two clusters", "another one than that of prod"},
		{"audience = \"https://tokens.example.org/test\"", "audience = \"openshell-gateway:g\"", "25", "a gateway's own", "projected"},
		{"issuer = \"https://tokens.example.org\"\n", "\n", "4", "there is none, and the gateway has no issuer", "projected"},
		{"jti = false", "jti = \"no\"", "21", "clusters.prod.allow.jti has a value of another kind", "true or false"},
		{"[clusters.test]", "[clusters.prod]", "23", "already", "TOML"},
		{twoClusters, "clusters = 3", "1", "clusters has a value of another kind", "[clusters.NAME]"},
		{twoClusters, "[clusters]\nissuer = \"https://x\"", "2", "clusters.issuer has a value of another kind", "[clusters.NAME]"},
		{twoClusters, "[clusters.a]\nallow = 3", "2", "clusters.a.allow has a value of another kind", "[[clusters.a.allow]]"},
	} {
		text := strings.Replace(twoClusters, c.old, c.new, 1)
		if text == twoClusters {
			t.Errorf("%q is not in the file", c.old)
		}
		path := write(t, text)
		_, err := ReadFile(path)
		var wrong *Error
		if !errors.As(err, &wrong) {
			t.Errorf("%q: %v", c.new, err)
			continue
		}
		p := wrong.Problems[0]
		if p.Where != path+":"+c.line || !strings.Contains(p.Message, c.message) || !strings.Contains(p.Hint, c.hint) {
			t.Errorf("%q: %s, hint %q", c.new, p, p.Hint)
		}
	}
}
