package main

import (
	"strings"
	"unicode"
)

// maxLine bounds what is shown of what another program has said, in letters.
const maxLine = 500

// line makes one line for a terminal of what a gateway, a server or git may have said.
func line(said string) string {
	var b strings.Builder
	n := 0
	for _, r := range said {
		if n++; n > maxLine {
			return b.String() + "…"
		}
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String()
}
