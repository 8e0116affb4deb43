package text

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// TestEvil has texts that a hostile sandbox, engine or image might send.
func TestEvil(t *testing.T) {
	for _, c := range []struct{ name, said, want string }{
		{"plain", "start the VM: no KVM", "start the VM: no KVM"},
		{"other scripts", "プログラム: ошибка, é ñ ü ×3 … “ok”", "プログラム: ошибка, é ñ ü ×3 … “ok”"},
		{"emoji", "done 🎉", "done 🎉"},
		{"lines", "one\n\ntwo\r\nthree\n", "one; two; three"},
		{"other line breaks", "a\vb\fc\u0085d\u2028e\u2029f", "a; b; c; d; e; f"},
		{"tab", "a\tb", "a b"},
		{"colour", "\x1b[1;31mred\x1b[0m", "red"},
		{"C1 colour", "\u009b31mred\u009bm", "red"},
		{"C1 as a raw byte", "a\x9b31mb", "a?31mb"},
		{"cursor up and erase", "a\x1b[2A\x1b[2Kb", "ab"},
		{"title", "a\x1b]0;owned\x07b\x1b]2;owned\x1b\\c", "abc"},
		{"C1 title", "a\u009d0;owned\u009cb", "ab"},
		{"hyperlink", "\x1b]8;;http://evil\x1b\\click\x1b]8;;\x1b\\", "click"},
		{"clipboard", "\x1b]52;c;cm0gLXJm\x07x", "x"},
		{"device control", "a\x1bPq#0\x1b\\b\u0090q\u009cc", "abc"},
		{"reset", "a\x1bcb", "ab"},
		{"character set", "a\x1b(0b", "ab"},
		{"sequence without an end", "a\x1b]0;b", "a0;b"},
		{"lone escape", "a\x1b", "a?"},
		{"bell, backspace, delete, nul", "a\ab\bc\x7fd\x00e", "a?b?c?d?e"},
		{"shift out", "a\x0eb\x0f", "a?b?"},
		{"bidi override", "\u202egnp.exe", "?gnp.exe"},
		{"bidi isolate", "a\u2066b\u2069", "a?b?"},
		{"bidi marks", "a\u200eb\u200fc\u061cd", "a?b?c?d"},
		{"byte order mark", "\ufeffa", "?a"},
		{"zero width", "r\u200bm\u200cx\u200dy\u2060z", "r?m?x?y?z"},
		{"soft hyphen", "a\u00adb", "a?b"},
		{"other blanks", "a\u00a0b\u3000c\u2003d", "a?b?c?d"},
		{"tags", "a\U000e0041\U000e007fb", "a??b"},
		{"variation selectors", "a\ufe0fb\U000e0100c\u180bd", "a?b?c?d"},
		{"fillers", "a\u115fb\u1160c\u3164d\uffa0e\u2800f", "a?b?c?d?e?f"},
		{"grapheme joiner", "a\u034fb", "a?b"},
		{"annotation", "a\ufff9b\ufffbc", "a?b?c"},
		{"private use, not assigned, no rune", "a\ue000b\u0378c\uffffd", "a?b?c?d"},
		{"broken UTF-8", "a\xff\xc3b\xed\xa0\x80c", "a??b???c"},
		{"the replacement itself", "a\ufffdb", "a?b"},
		{"piled accents", "a" + strings.Repeat("\u0301", 6) + "b", "a\u0301\u0301\u0301???b"},
		{"blanks around", "  a ", "a"},
		{"nothing", "", ""},
		{"only orders", "\x1b[2J\n\x1b[H", ""},
	} {
		if got := Line(c.said); got != c.want {
			t.Errorf("%s: %q becomes %q, not %q", c.name, c.said, got, c.want)
		}
	}
}

func TestBounds(t *testing.T) {
	for _, long := range []string{strings.Repeat("a", MaxLine+1), strings.Repeat("é", 1<<20), strings.Repeat("\n\xff", 1<<20), strings.Repeat("a\n", MaxLine/2)} {
		got := Line(long)
		if len(got) > MaxLine || !strings.HasSuffix(got, ellipsis) || !utf8.ValidString(got) {
			t.Errorf("%d bytes, ends in %q", len(got), got[max(0, len(got)-8):])
		}
	}
	if exact := strings.Repeat("a", MaxLine); Line(exact) != exact {
		t.Error("what fits is cut")
	}
	for said, want := range map[string]string{"abcdef": "abc…", "abcd": "abcd", "éééé": "éééé", "ééééé": "ééé…", "ab  cd": "ab…", "": "", "日本": "日本", "日本語": "日…", "a日本": "a日…"} {
		if got := Short(said, 4); got != want {
			t.Errorf("%q in 4 columns: %q", said, got)
		}
	}
}

// FuzzLine checks that the text shown is always harmless and bounded, and that Line does
// not change it again.
func FuzzLine(f *testing.F) {
	for _, seed := range []string{"a\x1b[31mb", "\u009b1m", "\u202e\n\r", "\xff\xfe", "a\u0301\u0301\u0301\u0301", "\x1b\x1b[[mm", strings.Repeat("\u0301", 3*MaxLine)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, said string) {
		got := Line(said)
		if len(got) > MaxLine || !utf8.ValidString(got) {
			t.Fatalf("%d bytes: %q", len(got), got)
		}
		for _, r := range got {
			if !Printable(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
				t.Fatalf("%q passes in %q", r, got)
			}
		}
		if again := Line(got); again != got {
			t.Fatalf("%q becomes %q the second time", got, again)
		}
	})
}

// TestJSON checks that the text is harmless and that its value has not changed.
func TestJSON(t *testing.T) {
	const evil = "a\u009b31m\u202e\u007f\U000e0041\ufeff é 🎉 \u2028\x1b\"\\\ufffd"
	encoded, err := json.Marshal(evil)
	if err != nil {
		t.Fatal(err)
	}
	safe := JSON(encoded)
	for _, r := range string(safe) {
		if !Printable(r) {
			t.Errorf("%q passes", r)
		}
	}
	var back string
	if err := json.Unmarshal(safe, &back); err != nil || back != evil {
		t.Errorf("%q, %v", back, err)
	}
	if indented := "{\n  \"a\": 1\n}\n"; string(JSON([]byte(indented))) != indented {
		t.Error("lines are not kept")
	}
}

// TestCut: a cut is between runes, and its mark is counted.
func TestCut(t *testing.T) {
	for in, want := range map[string]string{"": "", "1234567": "1234567", "12345678": "1234…", "ééé\n": "ééé", "éééé": "éé…", "<\x1b[31m>": "<>"} {
		if got := Cut(in, 7); got != want || len(got) > 7 {
			t.Errorf("%q: %q, not %q", in, got, want)
		}
	}
}
