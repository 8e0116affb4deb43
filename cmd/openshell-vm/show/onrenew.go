package show

import (
	"fmt"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/text"
)

// onRenew is what is done inside at each new generation, and how it went last.
func onRenew(s api.OnRenewState) string {
	line := "runs " + quoted(s.Command)
	if s.Signal != "" {
		line = "sends " + text.Line(s.Signal) + " to the main process"
	}
	switch {
	case s.At.IsZero():
	case s.Problem != "":
		line += fmt.Sprintf("; FAILED for generation %d at %s: %s", s.Generation, moment(s.At), text.Line(s.Problem))
	default:
		line += fmt.Sprintf("; done for generation %d at %s, in %v", s.Generation, moment(s.At), s.Took.Round(100*time.Microsecond))
	}
	return line
}

// untold tells in a few words that it failed: ps has it beside the token.
func untold(s *api.OnRenewState) string {
	if s == nil || s.Problem == "" {
		return ""
	}
	return "; on-renew FAILED: " + text.Line(s.Problem)
}
