package explain

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
	"openshell-vm/internal/text"
)

// TestEndOfTheGateway: an operation that the gateway's end cut off is an error neither of the
// engine nor of the request.
func TestEndOfTheGateway(t *testing.T) {
	engine := &drivers.Error{Op: "create the container", Err: fmt.Errorf("Post \"http://docker.sock/containers\": %w", context.Canceled)}
	for _, err := range []error{Error(engine), Invalid(engine)} {
		var e *api.Error
		if !errors.As(err, &e) || e.Message != "the gateway was ended meanwhile" || e.Code == api.CodeInvalid || !strings.Contains(e.Hint, "do it again") {
			t.Errorf("%+v", err)
		}
	}
}

// TestHostileErrors: a text of an engine, an image or a guest becomes one bounded, printable
// line before a client gets it, in every kind of error.
func TestHostileErrors(t *testing.T) {
	evil := "user a\u009b1;31mx\u202e\x1b]0;y\x07\nend\ufeff" + strings.Repeat("!", 1<<20)
	var said []string
	for _, err := range []error{
		errors.New(evil), &drivers.Error{Op: "start", Err: errors.New(evil), Hint: evil}, &api.Error{Code: api.CodeDriver, Message: evil, Hint: evil},
	} {
		e := Error(err)
		said = append(said, e.Message, e.Hint)
	}
	for i, line := range said {
		if text.Line(line) != line || strings.HasPrefix(line, "user a\u009b") || len(line) > text.MaxLine || line == "" {
			t.Errorf("%d: %d bytes, %.60q", i, len(line), line)
		}
	}
}
