package show

import (
	"io"
	"strings"
	"testing"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/text"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func TestFreshness(t *testing.T) {
	token := func(left time.Duration, failures int) api.Token {
		return api.Token{ExpiresAt: noon.Add(left), Failures: failures, LastError: "no space\nleft"}
	}
	further := token(time.Hour, 2)
	further.Files = []api.IssuedToken{{File: "a.jwt", ExpiresAt: noon.Add(-5 * time.Minute)}, {File: "b.jwt", ExpiresAt: noon.Add(time.Minute)}}
	for _, c := range []struct {
		state api.State
		token api.Token
		want  string
	}{
		{"running", token(42*time.Second, 0), "expires in 42s"},
		{"running", token(30*time.Minute, 0), "expires in 30m"},
		{"running", token(0, 0), "EXPIRED 0s ago"},
		{"running", token(-3*time.Minute, 0), "EXPIRED 3m ago"},
		{"exited", token(-3*time.Hour, 0), "expired 3h ago"},
		{"created", api.Token{}, "none yet"},
		{"running", token(time.Minute, 3), "expires in 60s; renewal failed ×3: no space; left"},
		{"running", token(-time.Minute, 1), "EXPIRED 60s ago; renewal failed ×1: no space; left"},
		{"running", further, "expires in 60m; a.jwt EXPIRED 5m ago; renewal failed ×2: no space; left"},
		{"exited", further, "expires in 60m; renewal failed ×2: no space; left"},
		{"running", api.Token{ExpiresAt: noon.Add(time.Minute), Revoked: true}, "REVOKED: its key is retired"},
		{"exited", api.Token{ExpiresAt: noon.Add(time.Minute), Revoked: true}, "revoked: its key is retired"},
		{"exited", api.Token{ExpiresAt: noon.Add(-time.Minute), Revoked: true}, "expired 60s ago"},
	} {
		if got := freshness(api.Sandbox{State: c.state, Token: c.token}, noon); got != c.want {
			t.Errorf("%s, %v: %q, want %q", c.state, c.token.ExpiresAt, got, c.want)
		}
	}
}

func TestState(t *testing.T) {
	seven := 7
	for _, c := range []struct {
		s    api.Sandbox
		want string
	}{
		{api.Sandbox{State: "running", StartedAt: noon.Add(-90 * time.Minute)}, "running 90m"},
		{api.Sandbox{State: "running"}, "running"},
		{api.Sandbox{State: "exited", ExitCode: &seven, ExitedAt: noon.Add(-50 * time.Hour)}, "exited (7) 2d ago"},
		{api.Sandbox{State: "exited", ExitCode: &seven, ExitedAt: noon, Reason: "no memory"}, "exited (7) 0s ago: no memory"},
		{api.Sandbox{State: "dead", Reason: "virtiofsd\nwas killed"}, "dead: virtiofsd; was killed"},
		{api.Sandbox{State: "dead", Reason: strings.Repeat("é", 100)}, "dead: " + strings.Repeat("é", 100)},
		{api.Sandbox{State: "starting"}, "starting"},
	} {
		if got := explained(c.s, noon); got != c.want {
			t.Errorf("%+v: %q, want %q", c.s, got, c.want)
		}
	}
}

func TestQuoted(t *testing.T) {
	if got := quoted([]string{"sh", "-c", "echo 'a' $b", ""}); got != `sh -c 'echo '\''a'\'' $b' ''` {
		t.Errorf("%s", got)
	}
}

// An engine may not know when it was that a sandbox ended.
func TestStateWithoutTime(t *testing.T) {
	code := 127
	s := api.Sandbox{State: "exited", ExitCode: &code, Reason: "no such command"}
	if got := explained(s, time.Now()); got != "exited (127): no such command" {
		t.Errorf("%q", got)
	}
}

// TestHostileText: whatever an engine or a guest calls itself or says, what is
// shown of it is lines of printable text.
func TestHostileText(t *testing.T) {
	const evil = "a\u009b31m\x1b]0;x\x07\u202eb\ufeffc\td\u200b"
	now := time.Now()
	s := api.Sandbox{ID: evil, Name: evil, Driver: evil, Hypervisor: evil, State: evil, Reason: evil, Image: evil, Warnings: []string{evil},
		Process: api.Process{Args: []string{evil}, User: evil}, Mounts: []api.Mount{{Source: evil, Target: evil}},
		Token: api.Token{Failures: 1, LastError: evil, KeyID: evil, TokenID: evil}, Details: []api.Fact{{Name: evil, Value: evil}}}
	share := api.Share{ID: evil, Name: evil, Dir: evil, Target: evil, Files: []string{evil}, Token: s.Token}
	image := api.Image{ID: evil, Names: []string{evil}, Sandboxes: []string{evil}, Config: api.ImageConfig{Env: []string{evil}, User: evil,
		Cmd: []string{evil}, Labels: map[string]string{evil: evil}}}
	for name, show := range map[string]func(io.Writer) error{
		"ps":            func(w io.Writer) error { return SandboxTable([]api.Sandbox{s}, now).Print(w, 80) },
		"inspect":       func(w io.Writer) error { return PrintFacts(w, SandboxFacts(s, now)) },
		"json":          func(w io.Writer) error { return PrintJSON(w, s) },
		"share ls":      func(w io.Writer) error { return ShareTable([]api.Share{share}, now).Print(w, 0) },
		"share inspect": func(w io.Writer) error { return PrintFacts(w, ShareFacts(share, now)) },
		"image ls":      func(w io.Writer) error { return ImageTable([]api.Image{image}, now).Print(w, 0) },
		"image inspect": func(w io.Writer) error { return PrintFacts(w, ImageFacts(image, now)) },
		"by template": func(w io.Writer) error {
			return Format(w, `table {{.Names}}\t{{.Config.Labels}} {{json .}}`, []any{image})
		},
		"keys list": func(w io.Writer) error { return KeyTable([]api.Key{{ID: evil}}, now).Print(w, 0) },
	} {
		var out strings.Builder
		if err := show(&out); err != nil || out.Len() == 0 {
			t.Errorf("%s: %q, %v", name, out.String(), err)
		}
		for _, r := range out.String() {
			if r != '\n' && !text.Printable(r) {
				t.Errorf("%s lets %q through: %q", name, r, out.String())
				break
			}
		}
	}
}

// TestTableHeadings: a table by template has a heading over its columns, whatever it lists, and
// if there is nothing to list.
func TestTableHeadings(t *testing.T) {
	volume := api.Volume{Name: "work", Dir: "/s/volumes/work/data", UsedBy: []string{"one", "two"}}
	share := api.Share{Name: "agent", Token: api.Token{Generation: 7}}
	image := api.Image{ID: "sha256:abc", Names: []string{"debian:12"}, Config: api.ImageConfig{Labels: map[string]string{"a": "b"}}}
	for _, c := range []struct {
		format  string
		row     any
		heading string
		line    string
	}{
		{`table {{.Name}}\t{{.Dir}}`, volume, "NAME      DIR", "work      /s/volumes/work/data"},
		{`table {{.Name}}\t{{join .UsedBy ", "}}`, volume, "NAME      USEDBY", "work      one, two"},
		{`table {{.Name}}\t{{range .UsedBy}}{{.}} {{end}}`, volume, "NAME      USEDBY", "work      one two"},
		{`table {{.Name}}\t{{.Token.Generation}}`, share, "NAME      GENERATION", "agent     7"},
		{`table {{.Name}}\t{{.CreatedAt.Format "15:04"}}`, api.Share{Name: "agent", CreatedAt: noon}, "NAME      CREATEDAT", "agent     12:00"},
		{`table {{.Name}}\t{{with .Token}}{{.Generation}}{{end}}`, share, "NAME      GENERATION", "agent     7"},
		{`table {{index .Names 0}}\t{{if .ID}}{{.ID}}{{end}}`, image, "NAMES       ID", "debian:12   sha256:abc"},
		{`table {{index .Config.Labels "a"}}\t{{$id := .ID}}{{$id | upper}}`, image, "LABELS    ID", "b         SHA256:ABC"},
		{`table {{.Name}}\t{{.Label "team"}}`, RowOf(api.Sandbox{Name: "box", Labels: map[string]string{"team": "red"}}, noon),
			"NAME      team", "box       red"},
	} {
		var out strings.Builder
		if err := Format(&out, c.format, []any{c.row}); err != nil {
			t.Errorf("%s: %v", c.format, err)
			continue
		}
		var lines []string
		for _, line := range strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n") {
			lines = append(lines, strings.TrimRight(line, " "))
		}
		if len(lines) != 2 || lines[0] != c.heading || lines[1] != c.line {
			t.Errorf("%s: %q, want %q and %q", c.format, lines, c.heading, c.line)
		}
	}
}

// TestNothingBeforeAnError: a template that can't be used prints nothing.
func TestNothingBeforeAnError(t *testing.T) {
	var out strings.Builder
	if err := Format(&out, `table {{.Name}} {{.Nope}}`, []any{api.Volume{Name: "a"}}); err == nil || out.Len() > 0 {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestSourceLines(t *testing.T) {
	list := []api.SourceState{
		{Source: api.Source{Name: "d/ca.pem", File: "/ca.pem", Mode: 0o400}, MadeAt: noon.Add(-time.Minute)},
		{Source: api.Source{Name: "gh", Command: []string{"gh", "auth", "a b"}}, MadeAt: noon, ExpiresAt: noon.Add(-time.Minute),
			NextAt: noon.Add(time.Minute), Problem: "it ended with exit status 1"},
		{Source: api.Source{Name: "x", File: "/x"}, Problem: "no such file"},
	}
	var lines []string
	for _, f := range sourceFacts(list, noon) {
		lines = append(lines, f.Name+": "+f.Value)
	}
	want := "Source d/ca.pem: follows /ca.pem, mode 0400, found 2026-05-01T11:59:00Z\n" +
		"Source gh: is what is printed by gh auth 'a b', found 2026-05-01T12:00:00Z, EXPIRED 2026-05-01T11:59:00Z, " +
		"again 2026-05-01T12:01:00Z; fails: it ended with exit status 1\n" +
		"Source x: follows /x; fails: no such file"
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("\n%s, want\n%s", got, want)
	}
	if got := stale(list, noon); got != "; gh EXPIRED 60s ago; x is not renewed" {
		t.Errorf("%q", got)
	}
}

// TestOnRenew: ps and inspect tell what is done at a renewal, and that it failed.
func TestOnRenew(t *testing.T) {
	s := api.Sandbox{State: "running", Token: api.Token{ExpiresAt: noon.Add(time.Minute), Generation: 7}}
	s.OnRenew = &api.OnRenewState{OnRenew: api.OnRenew{Signal: "HUP"}}
	if got := onRenew(*s.OnRenew); got != "sends HUP to the main process" || freshness(s, noon) != "expires in 60s" {
		t.Errorf("%q, %q", got, freshness(s, noon))
	}
	s.OnRenew = &api.OnRenewState{OnRenew: api.OnRenew{Command: []string{"nginx", "-s", "re load"}}, Generation: 7, At: noon,
		Problem: "its command\nexited with 3"}
	if got := onRenew(*s.OnRenew); !strings.HasPrefix(got, "runs nginx -s 're load'; FAILED for generation 7 at ") || strings.Contains(got, "\n") {
		t.Errorf("%q", got)
	}
	s.Token.UnseenSince = noon.Add(-5 * time.Second)
	for reason, want := range map[string]string{"": "", "it is\ndark": ": it is; dark"} {
		s.Token.UnseenReason = reason
		if got := freshness(s, noon); got != "expires in 60s; generation 7 NOT SEEN inside for 5s"+want+"; on-renew FAILED: its command; exited with 3" {
			t.Errorf("%q", got)
		}
	}
	s.Token.UnseenReason, s.Token.SeenGeneration = "", 6
	if got := freshness(s, noon); !strings.Contains(got, "NOT SEEN inside for 5s: it sees 6; ") {
		t.Errorf("%q", got)
	}
}
