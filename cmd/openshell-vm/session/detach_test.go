package session

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestDetachReader(t *testing.T) {
	for _, c := range []struct {
		typed, passed string
		detached      bool
	}{
		{"abc", "abc", false},
		{"\x10\x11", "", true},
		{"ab\x10\x11cd", "ab", true},
		{"\x10a\x11", "\x10a\x11", false},
		{"\x10\x10\x11", "\x10", true},
		{"\x11\x10", "\x11\x10", false},
		{"\x10", "\x10", false},
		{"", "", false},
	} {
		for how, from := range map[string]func(io.Reader) io.Reader{
			"at once": func(r io.Reader) io.Reader { return r }, "bytewise": iotest.OneByteReader, "with its error": iotest.DataErrReader,
		} {
			detached := false
			d := &detachReader{from: from(strings.NewReader(c.typed)), detach: func() { detached = true }}
			passed, err := io.ReadAll(d)
			right := errors.Is(err, ErrDetached) == c.detached && (c.detached || err == nil)
			if string(passed) != c.passed || detached != c.detached || !right {
				t.Errorf("%q %s: passed %q, detached %v, error %v", c.typed, how, passed, detached, err)
			}
		}
	}
}
