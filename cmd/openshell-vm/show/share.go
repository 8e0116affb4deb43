package show

import (
	"cmp"
	"os"
	"slices"
	"strings"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/text"
)

// ShareTable is share ls.
func ShareTable(list []api.Share, now time.Time) *Table {
	t := NewTable("NAME~16", "TOKEN~16", "USED BY~16", "DIRECTORY")
	for _, s := range list {
		t.Add(s.Name, ShareFreshness(s, now), cmp.Or(strings.Join(s.UsedBy, ", "), "-"), s.Dir)
	}
	return t
}

// ShareFreshness says how long a share's token is good for. It is as loud as of a
// running sandbox: a container with it may run.
func ShareFreshness(s api.Share, now time.Time) string {
	if s.Problem != "" {
		return "unknown: " + text.Line(s.Problem)
	}
	return freshness(api.Sandbox{State: api.StateRunning, Token: s.Token, Sources: s.Sources}, now)
}

// ShareFacts are share inspect's lines. What is empty is left out.
func ShareFacts(s api.Share, now time.Time) []api.Fact {
	facts := []api.Fact{
		{Name: "Name", Value: s.Name},
		{Name: "ID", Value: s.ID},
		{Name: "Sandbox of", Value: s.Driver},
		{Name: "Created", Value: moment(s.CreatedAt)},
		{Name: "Directory", Value: s.Dir},
		{Name: "Files", Value: strings.Join(s.Files, ", ")},
		{Name: "Used by", Value: strings.Join(s.UsedBy, ", ")},
	}
	if s.Driver == "" {
		facts = append(facts, api.Fact{Name: "Arguments", Value: strings.Join(RunArgs(s), " ")})
	}
	for _, w := range s.Warnings {
		facts = append(facts, api.Fact{Name: "Warning", Value: w})
	}
	facts = append(facts, api.Fact{Name: "Token", Value: ShareFreshness(s, now)},
		api.Fact{Name: "Auth mode", Value: string(s.AuthMode)}, api.Fact{Name: "Lifetime", Value: lifetime(s.TTL, s.Tokens)})
	return slices.Concat(facts, tokensAsked(s.Tokens), sourceFacts(s.Sources, now), TokenFacts(s.Token))
}

// RunArgs are the arguments that give a container the share, for docker and podman
// alike. A shell passes each on as it is: the gateway makes no share in a directory
// whose name it would not. Where SELinux keeps containers from unlabelled files, only
// --volume can ask both engines for the label.
func RunArgs(s api.Share) []string {
	args := []string{"--mount", "type=bind,src=" + s.Dir + ",dst=" + s.Target + ",readonly"}
	if selinux() {
		args = []string{"--volume", s.Dir + ":" + s.Target + ":ro,z"}
	}
	for _, variable := range s.Env {
		args = append(args, "--env", variable)
	}
	return args
}

// selinux says whether the host's kernel enforces it.
func selinux() bool {
	enforcing, err := os.ReadFile("/sys/fs/selinux/enforce")
	return err == nil && strings.TrimSpace(string(enforcing)) == "1"
}
