// Package text makes text from a sandbox, an engine or an image fit to be shown: error
// messages, reasons, names, a console's last lines.
//
// Such text is hostile. It may move the cursor, turn the direction of writing, hide
// characters, or be endless. Only this package says what may pass, and it lists what is
// allowed, not what is forbidden. A workload's standard streams are not such text: they go
// to the user unchanged, as with docker.
package text

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxLine is the largest length of a line in bytes, including the mark of a cut.
const MaxLine = 4 << 10

// MaxSaid is how many columns of a line are shown that a guest or a program said.
const MaxSaid = 500

// ellipsis marks a cut.
const ellipsis = "…"

// maxMarks is how many marks (accents and the like) may stand on one letter. More would
// reach into the lines above and below.
const maxMarks = 3

// sequence matches a terminal's escape sequences with their parameters, also in their C1
// forms: first CSI, then the strings that end in BEL or ST, then the short ones.
var sequence = regexp.MustCompile(`(?:\x1b\[|\x{9b})[0-?]*[ -/]*[@-~]` +
	`|(?:\x1b[PX\]^_]|[\x{90}\x{98}\x{9d}-\x{9f}])[^\x07\x1b\x{9c}\n\r]*(?:\x07|\x1b\\|\x{9c})` +
	`|\x1b[ -/]*[0-~]`)

// invisible are runes that Unicode counts as letters, marks or symbols, but that show
// nothing, beside those of the two tables in Printable.
var invisible = &unicode.RangeTable{
	R16: []unicode.Range16{{Lo: 0x2800, Hi: 0x2800, Stride: 1}}, // a Braille pattern without dots
	R32: []unicode.Range32{{Lo: 0x1d159, Hi: 0x1d159, Stride: 1}},
}

// Printable reports whether a rune shows itself and changes nothing else: a letter, a mark,
// a number, a symbol, punctuation, or the ordinary blank. Not printable are controls (also
// C1), runes that turn the direction of writing, joiners, fillers, variation selectors, and
// unassigned runes.
func Printable(r rune) bool {
	return unicode.IsPrint(r) && r != utf8.RuneError &&
		!unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector, invisible)
}

// Line makes one line of at most MaxLine bytes of any text. Line breaks become "; ", and a
// tab becomes a blank. Escape sequences go. Every other rune that is not Printable becomes a
// '?', so that nothing vanishes from the middle of a word.
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

// joined joins lines to one. It leaves out empty lines.
func joined(s string) string {
	lines := strings.FieldsFunc(s, func(r rune) bool {
		return r == '\n' || r == '\r' || r == '\v' || r == '\f' || r == 0x85 || r == 0x2028 || r == 0x2029
	})
	return strings.Join(lines, "; ")
}

// toBytes returns as many of s's first runes as fit into n bytes.
func toBytes(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// Cut is Line cut to at most n bytes, including the mark of a cut.
func Cut(s string, n int) string {
	s = Line(s)
	if len(s) <= n {
		return s
	}
	return toBytes(s, n-len(ellipsis)) + ellipsis
}

// Short is Line cut to at most n columns of a terminal, including the mark of a cut.
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

// Width returns how many columns of a terminal a line takes at most.
func Width(s string) int {
	n := 0
	for _, r := range s {
		n += width(r)
	}
	return n
}

// width returns two columns for runes that may take two: Chinese, Japanese and Korean
// letters, and the pictures after them in Unicode.
func width(r rune) int {
	if r >= 0x1100 && (r <= 0x115f || r >= 0x2e80) {
		return 2
	}
	return 1
}

// JSON escapes what is not Printable in encoded JSON, since a terminal may show it. The
// meaning stays the same.
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

// AtMost joins the first n of a list, and says how many more there are.
func AtMost(list []string, n int) string {
	if len(list) > n {
		list = append(slices.Clone(list[:n]), fmt.Sprintf("and %d more", len(list)-n))
	}
	return strings.Join(list, ", ")
}
