package show

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/text"
)

// Current gives the sandboxes that run, and those that should and do not: what ps
// shows without --all.
func Current(list []api.Sandbox) []api.Sandbox {
	var some []api.Sandbox
	for _, s := range list {
		switch s.State {
		case api.StateRunning, api.StateStarting, api.StateStopping, api.StateRestarting,
			api.StateUnknown, api.StateUnreadable: // these may run, too
			some = append(some, s)
		case api.StateDead:
			if s.Desired == api.WantRunning {
				some = append(some, s)
			}
		}
	}
	return some
}

// SandboxTable is ps.
func SandboxTable(list []api.Sandbox, now time.Time) *Table {
	columns := []string{"NAME~16", "ID", "DRIVER", "STATE~16", "TOKEN~16"}
	withPorts := slices.ContainsFunc(list, func(s api.Sandbox) bool { return len(s.Ports) > 0 })
	if withPorts {
		columns = append(columns, "PORTS~16")
	}
	t := NewTable(columns...)
	for _, s := range list {
		cells := []string{s.Name, s.ID, driver(s), explained(s, now), freshness(s, now)}
		if withPorts {
			cells = append(cells, openPorts(s))
		}
		t.Add(cells...)
	}
	return t
}

// openPorts are the ports of this host that lead to a sandbox now.
func openPorts(s api.Sandbox) string {
	if s.State != api.StateRunning {
		return ""
	}
	return portList(s.Ports)
}

func portList(ports []api.Port) string {
	var list []string
	for _, p := range ports {
		list = append(list, p.String())
	}
	return strings.Join(list, ", ")
}

// driver names the hypervisor, too, once one was chosen.
func driver(s api.Sandbox) string {
	if s.Hypervisor != "" && s.Hypervisor != "auto" {
		return s.Driver + "/" + s.Hypervisor
	}
	return s.Driver
}

// explained is the sandbox's state, and the reason if there is one.
func explained(s api.Sandbox, now time.Time) string {
	running := s.State == api.StateRunning && !s.StartedAt.IsZero()
	over := strings.HasPrefix(s.Reason, "the first boot ") // inspect tells of it
	switch {
	case s.Reason == "" || running && over:
		return state(s, now)
	case running: // something is wrong all the same: its engine does not answer, it is frozen, its network is down
		return state(s, now) + ", " + text.Line(s.Reason)
	}
	return state(s, now) + ": " + text.Line(s.Reason)
}

// state is the sandbox's state, and for how long it has been in it.
func state(s api.Sandbox, now time.Time) string {
	switch {
	case s.State == api.StateRunning && !s.StartedAt.IsZero():
		return "running " + Span(now.Sub(s.StartedAt))
	case s.State == api.StateRestarting && s.ExitCode != nil:
		return fmt.Sprintf("restarting (%d) %s ago", *s.ExitCode, Span(now.Sub(s.ExitedAt)))
	case s.State == api.StateExited && s.ExitCode != nil && s.ExitedAt.IsZero(): // Docker does not keep when a start failed
		return fmt.Sprintf("exited (%d)", *s.ExitCode)
	case s.State == api.StateExited && s.ExitCode != nil:
		return fmt.Sprintf("exited (%d) %s ago", *s.ExitCode, Span(now.Sub(s.ExitedAt)))
	}
	return string(s.State)
}

// labelList is NAME=VALUE of each label, sorted by name.
func labelList(labels map[string]string) (list []string) {
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		list = append(list, name+"="+labels[name])
	}
	return list
}

// restart is the restart policy, and how often it was needed.
func restart(s api.Sandbox) string {
	p := s.Restart
	if p.Name == "" {
		return ""
	}
	line := p.Name
	if p.Max > 0 {
		line += fmt.Sprintf(", %d times at most", p.Max)
	}
	if s.Restarts > 0 {
		line += fmt.Sprintf("; restarted %d times since it was started", s.Restarts)
	}
	return line
}

// SandboxFacts are inspect's lines. What is empty is left out.
func SandboxFacts(s api.Sandbox, now time.Time) []api.Fact {
	facts := []api.Fact{
		{Name: "Name", Value: s.Name},
		{Name: "ID", Value: s.ID},
		{Name: "Driver", Value: driver(s)},
		{Name: "State", Value: state(s, now)},
		{Name: "Should be", Value: s.Desired},
		{Name: "Reason", Value: s.Reason},
		{Name: "Command", Value: quoted(s.Process.Args)},
		{Name: "User", Value: s.Process.User},
		{Name: "Directory", Value: s.Process.Dir},
		{Name: "Root", Value: s.Rootfs},
		{Name: "Image", Value: s.Image},
		{Name: "Labels", Value: strings.Join(labelList(s.Labels), ", ")},
		{Name: "Restart", Value: restart(s)},
		{Name: "CPUs", Value: nonZero(s.CPUs)},
		{Name: "Memory", Value: size(s.Memory)},
		{Name: "Disk", Value: size(s.Disk)},
		{Name: "Created", Value: moment(s.CreatedAt)},
		{Name: "Started", Value: moment(s.StartedAt)},
		{Name: "Ended", Value: moment(s.ExitedAt)},
		{Name: "Share", Value: s.Share},
		{Name: "Shown at", Value: s.At},
		{Name: "Ports", Value: portList(s.Ports)},
	}
	for _, m := range s.Mounts {
		facts = append(facts, api.Fact{Name: "Mount", Value: mount(m)})
	}
	for _, share := range s.Shares {
		facts = append(facts, api.Fact{Name: "Share " + share.Name, Value: shownShare(share, now)})
	}
	for _, w := range s.Warnings {
		facts = append(facts, api.Fact{Name: "Warning", Value: w})
	}
	if s.OnRenew != nil {
		facts = append(facts, api.Fact{Name: "On renewal", Value: onRenew(*s.OnRenew)})
	}
	facts = append(facts, api.Fact{Name: "Token", Value: freshness(s, now)},
		api.Fact{Name: "Auth mode", Value: string(s.AuthMode)}, api.Fact{Name: "Lifetime", Value: lifetime(s.TTL, s.Tokens)})
	return slices.Concat(facts, tokensAsked(s.Tokens), sourceFacts(s.Sources, now), TokenFacts(s.Token), s.Details)
}

// shownShare says where a sandbox sees a share of the user's own, and what of it.
func shownShare(s api.SeenShare, now time.Time) string {
	line := "at " + s.Target
	if s.Generation == 0 {
		return line + ", which does not exist any more"
	}
	line += fmt.Sprintf(", generation %d", s.Generation)
	t := api.Token{SeenGeneration: s.SeenGeneration, Seen: s.Seen}
	if what := seen(t); what != "" {
		line += ", seen inside: " + what
	}
	if !s.UnseenSince.IsZero() {
		line += ";" + late(0, s.Seen, now) // what it sees stands before
	}
	return line
}

// mount says what a sandbox sees, where, and whether it may write there.
func mount(m api.Mount) string {
	from, access := m.Source, "read-only"
	if m.Volume != "" {
		from = "volume " + m.Volume
	}
	if m.Writable {
		access = "writable"
	}
	return from + " at " + m.Target + ", " + access
}
