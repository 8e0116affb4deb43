package show

import (
	"cmp"
	"fmt"
	"reflect"
	"strings"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/text"
)

// SandboxRow is a sandbox for a template of ps: the fields that docker's has, and ours. Each
// is one harmless line.
type SandboxRow struct {
	ID, Names, Name, Image, Command, CreatedAt, RunningFor, Ports, State, Status, Labels, Mounts, Networks string
	Driver, Token, Restarts                                                                                string

	labels map[string]string
}

// Label is the value of a label; "" if there is none.
func (r SandboxRow) Label(name string) string { return text.Line(r.labels[name]) }

// RowOf makes a sandbox's row.
func RowOf(s api.Sandbox, now time.Time) any {
	var mounts []string
	for _, m := range s.Mounts {
		mounts = append(mounts, m.Target)
	}
	row := SandboxRow{
		ID: s.ID, Names: s.Name, Name: s.Name, Image: cmp.Or(s.Image, s.Rootfs), Command: quoted(s.Process.Args),
		CreatedAt: s.CreatedAt.Format(time.RFC3339), RunningFor: Span(now.Sub(s.CreatedAt)) + " ago",
		State: string(s.State), Status: explained(s, now),
		Labels: strings.Join(labelList(s.Labels), ","), Mounts: strings.Join(mounts, ","), Ports: openPorts(s),
		Driver: driver(s), Token: freshness(s, now), Restarts: fmt.Sprint(s.Restarts),
	}
	v := reflect.ValueOf(&row).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.String {
			f.SetString(text.Line(f.String()))
		}
	}
	row.labels = s.Labels
	return row
}
