// Package text makes text fit to be shown that comes from a sandbox, an engine
// or an image: error messages, reasons, names, a console's last lines.
//
// Such text is hostile. It may move the cursor, turn the line around, hide what
// stands in it, or be endless. Here is the only list of what may pass, and it
// names what is allowed. What a workload writes to its standard streams is no
// such text: it goes to the user as it is, as in docker.
package text

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxLine is how long a line gets, in bytes, the mark of a cut included.
const MaxLine = 4 << 10

// ellipsis marks a cut.
const ellipsis = "…"

// maxMarks is how many marks (accents and the like) may stand on one letter:
// more reach into the lines above and below.
const maxMarks = 3

// sequence is what a terminal takes for an order, with its parameters: CSI,
// then the strings that end in BEL or ST, then the short ones. C1 forms, too.
var sequence = regexp.MustCompile(`(?:\x1b\[|\x{9b})[0-?]*[ -/]*[@-~]` +
	`|(?:\x1b[PX\]^_]|[\x{90}\x{98}\x{9d}-\x{9f}])[^\x07\x1b\x{9c}\n\r]*(?:\x07|\x1b\\|\x{9c})` +
	`|\x1b[ -/]*[0-~]`)

// invisible are the runes that Unicode counts as letters, marks or symbols and
// shows as nothing, other than those of the two tables in Printable.
var invisible = &unicode.RangeTable{
	R16: []unicode.Range16{{Lo: 0x2800, Hi: 0x2800, Stride: 1}}, // a Braille pattern without dots
	R32: []unicode.Range32{{Lo: 0x1d159, Hi: 0x1d159, Stride: 1}},
}

// Printable says whether a rune is shown as itself and changes nothing else: a
// letter, a mark, a number, a symbol, punctuation, or the ordinary blank.
// Controls, C1 among them, are not; nor is what turns the direction of writing,
// joins, fills, varies or is not assigned.
func Printable(r rune) bool {
	return unicode.IsPrint(r) && r != utf8.RuneError &&
		!unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector, invisible)
}

// Line makes one line of at most MaxLine bytes of any text. Breaks become
// "; ", a tab a blank. A terminal's orders are left out, and for every other
// rune that is not Printable stands a '?', so that nothing vanishes from the
// middle of a word.
func Line(s string) string {
	cut := len(s) > MaxLine
	if cut {
		s = s[:MaxLine]
	}
	var b strings.Builder
	marks := 0
	for _, r := range joined(sequence.ReplaceAllString(s, "")) {
		if marks++; !unicode.IsMark(r) {
			marks = 0
		}
		switch {
		case r == '\t':
			r = ' '
		case !Printable(r), marks > maxMarks:
			r = '?'
		}
		b.WriteRune(r)
	}
	line := strings.TrimSpace(b.String())
	if cut || len(line) > MaxLine {
		return toBytes(line, MaxLine-len(ellipsis)) + ellipsis
	}
	return line
}

// joined makes one line of several, empty ones left out.
func joined(s string) string {
	lines := strings.FieldsFunc(s, func(r rune) bool {
		return r == '\n' || r == '\r' || r == '\v' || r == '\f' || r == 0x85 || r == 0x2028 || r == 0x2029
	})
	return strings.Join(lines, "; ")
}

// toBytes gives as many of s's first runes as have room in n bytes.
func toBytes(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// Short is Line in at most n columns of a terminal, the mark of a cut included.
func Short(s string, n int) string {
	s = Line(s)
	if Width(s) <= n {
		return s
	}
	n -= Width(ellipsis)
	for i, r := range s {
		if n -= width(r); n < 0 {
			return strings.TrimSpace(s[:i]) + ellipsis
		}
	}
	return s
}

// Width is how many columns of a terminal a line takes at most.
func Width(s string) int {
	n := 0
	for _, r := range s {
		n += width(r)
	}
	return n
}

// width counts two columns where a rune may take them: Chinese, Japanese and
// Korean letters, and the pictures above them.
func width(r rune) int {
	if r >= 0x1100 && (r <= 0x115f || r >= 0x2e80) {
		return 2
	}
	return 1
}

// JSON escapes what is not Printable in encoded JSON, whose meaning stays the
// same: a terminal may be what reads it.
func JSON(encoded []byte) []byte {
	var out []byte
	for _, r := range string(encoded) {
		switch {
		case r == '\n' || Printable(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}
