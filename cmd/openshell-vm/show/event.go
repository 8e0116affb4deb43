package show

import (
	"maps"
	"slices"
	"strings"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/text"
)

// EventLine is an event as one line: when, what, to whom, and its details.
func EventLine(e api.Event) string {
	words := []string{e.Time.Local().Format(time.RFC3339Nano), e.Kind, e.Action}
	if e.Name != "" {
		words = append(words, e.Name)
	}
	details := []string{}
	if e.ID != "" {
		details = append(details, "id="+e.ID)
	}
	for _, name := range slices.Sorted(maps.Keys(e.Details)) {
		details = append(details, name+"="+e.Details[name])
	}
	if len(details) > 0 {
		words = append(words, "("+strings.Join(details, ", ")+")")
	}
	return text.Line(strings.Join(words, " "))
}
