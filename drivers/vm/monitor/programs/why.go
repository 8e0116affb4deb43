package programs

import (
	"fmt"

	"github.com/docker/go-units"
)

// OutOfMemory explains the death of a member that the kernel killed for want of memory. It
// is "" if the kernel killed none for that.
func (g *Group) OutOfMemory(name string) string {
	killed, byLimit := g.setting.Cgroup.OutOfMemory()
	switch {
	case !killed:
		return ""
	case byLimit:
		return fmt.Sprintf("out of memory in its cgroup on this host: the guest and its programs may have %s, and the kernel killed %s",
			units.BytesSize(float64(g.setting.MemoryLimit)), name)
	}
	return "this host is out of memory, and its kernel killed " + name
}

// Why says in one line why a member ended by itself, with its own last words.
func (g *Group) Why(d Death) string {
	if oom := g.OutOfMemory(d.Name); oom != "" && d.BySIGKILL() {
		return oom
	}
	why := d.String()
	if said := g.setting.Output.Said(d.Name); said != "" && !d.BySIGKILL() {
		why += ": " + said
	}
	return why
}
