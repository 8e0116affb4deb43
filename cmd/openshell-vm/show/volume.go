package show

import (
	"cmp"
	"strings"
	"time"

	"openshell-vm/gateway/api"
)

// VolumeTable is volume ls.
func VolumeTable(list []api.Volume, _ time.Time) *Table {
	t := NewTable("NAME~16", "USED BY~16", "CREATED", "DIRECTORY")
	for _, v := range list {
		t.Add(v.Name, cmp.Or(strings.Join(v.UsedBy, ", "), "-"), moment(v.CreatedAt), v.Dir)
	}
	return t
}

// VolumeFacts are volume inspect's lines.
func VolumeFacts(v api.Volume, _ time.Time) []api.Fact {
	return []api.Fact{
		{Name: "Name", Value: v.Name},
		{Name: "Created", Value: moment(v.CreatedAt)},
		{Name: "Directory", Value: v.Dir},
		{Name: "Used by", Value: strings.Join(v.UsedBy, ", ")},
	}
}
