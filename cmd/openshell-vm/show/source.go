package show

import (
	"fmt"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/text"
)

// sourceFacts are inspect's lines about the files of a share that have sources.
func sourceFacts(list []api.SourceState, now time.Time) (facts []api.Fact) {
	for _, s := range list {
		line := "follows " + s.File
		if len(s.Command) > 0 {
			line = "is what is printed by " + quoted(s.Command)
		}
		if s.Secret != "" {
			line = "is the secret " + text.Line(s.Secret)
		}
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
