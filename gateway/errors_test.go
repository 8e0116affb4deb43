package gateway

import (
	"errors"
	"strings"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/internal/text"
	"openshell-vm/share"
)

// TestHostileErrors: what an engine, an image or a guest says is one bounded,
// printable line before a client gets it, whichever way it comes.
func TestHostileErrors(t *testing.T) {
	evil := "user a\u009b1;31mx\u202e\x1b]0;y\x07\nend\ufeff" + strings.Repeat("!", 1<<20)
	fact := drivers.Fact{Name: evil, Value: evil}
	s := &sandbox{id: "a", record: &Record{ID: "a", Name: "a"}, share: &share.Share{}}
	s.status = drivers.Status{State: drivers.Dead, Reason: evil, Details: []drivers.Fact{fact}}
	view := s.view()
	said := []string{view.Reason, view.Details[0].Name, view.Details[0].Value}
	for _, err := range []error{
		errors.New(evil), &drivers.Error{Op: "start", Err: errors.New(evil), Hint: evil}, &api.Error{Code: api.CodeDriver, Message: evil, Hint: evil},
	} {
		e := explain(err)
		said = append(said, e.Message, e.Hint)
	}
	for i, line := range said {
		if text.Line(line) != line || strings.HasPrefix(line, "user a\u009b") || len(line) > text.MaxLine || line == "" {
			t.Errorf("%d: %d bytes, %.60q", i, len(line), line)
		}
	}
}
