package show

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"openshell-vm/gateway/api"
)

// shortID is as much of an image's ID as docker shows.
const shortID = 12

// ImageTable is image ls. An image has a row for each of its names.
func ImageTable(images []api.Image, now time.Time) *Table {
	t := NewTable("NAME~20", "IMAGE ID", "PULLED", "SIZE", "SANDBOXES")
	for _, i := range images {
		names := i.Names
		if len(names) == 0 {
			names = []string{"<none>"}
		}
		id := strings.TrimPrefix(i.ID, "sha256:")
		for _, name := range names {
			t.Add(name, id[:min(shortID, len(id))], Span(now.Sub(i.Pulled))+" ago", size(i.Size), fmt.Sprint(len(i.Sandboxes)))
		}
	}
	return t
}

// ImageFacts is image inspect.
func ImageFacts(i api.Image, _ time.Time) []api.Fact {
	c := i.Config
	facts := []api.Fact{
		{Name: "Names", Value: strings.Join(i.Names, ", ")}, {Name: "ID", Value: i.ID}, {Name: "Digest", Value: i.Digest},
		{Name: "Made", Value: moment(c.Created)}, {Name: "Pulled", Value: moment(i.Pulled)},
		{Name: "Size", Value: size(i.Size)}, {Name: "Block image", Value: i.Path},
		{Name: "Sandboxes", Value: strings.Join(i.Sandboxes, ", ")},
		{Name: "Architecture", Value: c.Architecture},
		{Name: "Entry point", Value: quoted(c.Entrypoint)}, {Name: "Command", Value: quoted(c.Cmd)},
		{Name: "User", Value: c.User}, {Name: "Working directory", Value: c.Dir}, {Name: "Stop signal", Value: c.StopSignal},
		{Name: "Volumes", Value: strings.Join(c.Volumes, ", ")}, {Name: "Listens on", Value: strings.Join(c.Ports, ", ")},
	}
	for _, kv := range c.Env {
		facts = append(facts, api.Fact{Name: "Environment", Value: kv})
	}
	for _, key := range slices.Sorted(maps.Keys(c.Labels)) {
		facts = append(facts, api.Fact{Name: "Label " + key, Value: c.Labels[key]})
	}
	return facts
}
