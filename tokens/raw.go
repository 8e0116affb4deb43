package tokens

import (
	"fmt"
	"log/slog"
)

// Raw is a token. Printing, formatting, encoding or logging it gives a placeholder. Only the
// conversions string(raw) and []byte(raw) give the token itself.
type Raw string

const placeholder = "[token]"

// Format writes a placeholder for every verb.
func (Raw) Format(s fmt.State, _ rune) { fmt.Fprint(s, placeholder) }

// LogValue returns a placeholder.
func (Raw) LogValue() slog.Value { return slog.StringValue(placeholder) }

// MarshalText returns a placeholder, so that no record can hold a token by accident.
func (Raw) MarshalText() ([]byte, error) { return []byte(placeholder), nil }
