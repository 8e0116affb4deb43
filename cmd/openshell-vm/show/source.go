package show

import (
	"fmt"
	"strings"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/text"
)

// sourceFacts are inspect's lines about the files of a share that have sources.
func sourceFacts(list []api.SourceState, now time.Time) (facts []api.Fact) {
	for _, s := range list {
		line := origin(s.Source)
		if s.Mode != 0 {
			line += fmt.Sprintf(", mode %04o", s.Mode)
		}
		if s.Owner != nil {
			line += fmt.Sprintf(", owner %d:%d", s.Owner.UID, s.Owner.GID)
		}
		if !s.MadeAt.IsZero() {
			line += ", found " + moment(s.MadeAt)
		}
		switch {
		case s.ExpiresAt.IsZero():
		case now.Before(s.ExpiresAt):
			line += ", expires " + moment(s.ExpiresAt)
		default:
			line += ", EXPIRED " + moment(s.ExpiresAt)
		}
		if !s.NextAt.IsZero() {
			line += ", again " + moment(s.NextAt)
		}
		if s.Problem != "" {
			line += "; fails: " + text.Line(s.Problem)
		}
		facts = append(facts, api.Fact{Name: "Source " + s.Name, Value: line})
	}
	return facts
}

// origin says where a source's files come from.
func origin(s api.Source) string {
	switch app := s.GitHubApp; {
	case len(s.Command) > 0:
		return "is what is printed by " + quoted(s.Command)
	case s.Secret != "":
		return "is the secret " + text.Line(s.Secret)
	case s.OAuth != "":
		return "is the access token by " + text.Line(s.OAuth)
	case app != nil:
		line := fmt.Sprintf("is the token of the GitHub App %s, installation %d", text.Line(app.App), app.Installation)
		if app.URL != "" {
			line += " at " + text.Line(app.URL)
		}
		if len(app.Repositories) > 0 {
			line += " for " + text.Line(strings.Join(app.Repositories, ", "))
		}
		return line + ", by the key " + text.Line(app.Key)
	}
	return "follows " + s.File
}

// stale names the files that are not renewed, or are over, in a few words: ps has it beside the
// token. inspect says why.
func stale(list []api.SourceState, now time.Time) string {
	said := ""
	for _, s := range list {
		switch {
		case !s.ExpiresAt.IsZero() && !now.Before(s.ExpiresAt):
			said += "; " + s.Name + " EXPIRED " + Span(now.Sub(s.ExpiresAt)) + " ago"
		case s.Problem != "":
			said += "; " + s.Name + " is not renewed"
		}
	}
	return said
}
