package show

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"openshell-vm/gateway/api"
)

// SecretTable is secret ls.
func SecretTable(list []api.Secret, _ time.Time) *Table {
	t := NewTable("NAME~16", "SIZE", "CHANGED", "USED BY~16")
	for _, s := range list {
		changed := moment(s.ChangedAt)
		if s.Problem != "" {
			changed = s.Problem
		}
		t.Add(s.Name, fmt.Sprint(s.Size), changed, cmp.Or(strings.Join(s.UsedBy, ", "), "-"))
	}
	return t
}

// SecretFacts are secret inspect's lines.
func SecretFacts(s api.Secret, _ time.Time) []api.Fact {
	return []api.Fact{
		{Name: "Name", Value: s.Name},
		{Name: "Size", Value: fmt.Sprintf("%d bytes", s.Size)},
		{Name: "Created", Value: moment(s.CreatedAt)},
		{Name: "Changed", Value: moment(s.ChangedAt)},
		{Name: "Used by", Value: strings.Join(s.UsedBy, ", ")},
		{Name: "Problem", Value: s.Problem},
	}
}
