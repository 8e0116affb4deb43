package monitor

import (
	"regexp"
	"strings"
	"unicode"
)

// escape is a terminal's control sequence.
var escape = regexp.MustCompile("\x1b(\\[[0-?]*[ -/]*[@-~]|[^\\[])")

// maxLine is how long a line that a guest wrote is shown, in bytes.
const maxLine = 500

func truncate(s string) string {
	if len(s) <= maxLine {
		return s
	}
	return strings.ToValidUTF8(s[:maxLine], "") + "…"
}

// printable makes a line that a guest wrote fit for a user's terminal: what
// could move the cursor or change a colour is left out.
func printable(s string) string {
	s = escape.ReplaceAllString(s, "")
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r == unicode.ReplacementChar || !unicode.IsPrint(r):
			return -1
		}
		return r
	}, s)
	return truncate(strings.TrimSpace(s))
}
