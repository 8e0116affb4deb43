// Package programs is the processes of a VM: each in its jail and its part of the VM's
// cgroup, all together one VM. It finds out which of several deaths caused the others.
package programs

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/cgroup"
	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/jail"
	"openshell-vm/drivers/vm/monitor/logs"
)

// Group holds the processes that together are one VM. The death of one is the end of
// all. They die with the monitor: each has a parent-death signal. The kernel ties that
// signal to the thread that started the process, so one thread that never ends starts
// them all.
type Group struct {
	// Died gets a death for each member that was started with Report.
	Died chan Death

	setting Setting
	begin   sync.Once // starts the thread
	start   chan func()

	mu      sync.Mutex
	members map[string]*jail.Cmd
	servers map[string]bool // members that serve the hypervisor
	reports map[string]jail.Report
	killed  bool // nothing is started any more
	all     sync.WaitGroup
}

// Setting is what the programs of a VM have in common.
type Setting struct {
	ID          string       // of the sandbox
	Cgroup      cgroup.Group // of the guest and its programs; each program gets a part
	MemoryLimit int64        // of Cgroup, in bytes
	RequireJail bool         // refuse a host that can't confine them fully
	Output      *logs.Tools  // gets what they write
}

// New returns a group without members.
func New() *Group {
	return &Group{
		Died: make(chan Death, 16), start: make(chan func()),
		members: map[string]*jail.Cmd{}, servers: map[string]bool{}, reports: map[string]jail.Report{},
	}
}

// Place says where the members will run. It comes before the first Start.
func (g *Group) Place(s Setting) { g.setting = s }

// Start starts a member in its jail, and does not wait for the jail: a jail that fails is a
// death. died is told of the death; with Report for died, it ends the VM. After Kill, Start
// starts nothing.
func (g *Group) Start(p hypervisor.Process, died func(Death)) error {
	cmd, err := g.command(p)
	if err != nil {
		return err
	}
	says, err := g.setting.Output.Output(p.Name)
	if err != nil {
		cmd.Close()
		return err
	}
	defer says.Close()
	cmd.Stdout, cmd.Stderr = says, says
	return g.run(p, cmd, died)
}

// command returns the command that makes a member's jail and runs it there.
func (g *Group) command(p hypervisor.Process) (*jail.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	j := p.Jail
	j.Name, j.Env = p.Name+"-"+g.setting.ID, []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
	j.Cgroup, j.Require = g.setting.Cgroup.Part(p.Name), g.setting.RequireJail
	return jail.Command(self, j, p.Files...)
}

func (g *Group) run(p hypervisor.Process, cmd *jail.Cmd, died func(Death)) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.killed {
		cmd.Close()
		return errKilled
	}
	g.begin.Do(func() { go g.serve() })
	started := make(chan error)
	g.start <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	g.members[p.Name], g.servers[p.Name] = cmd, p.Server
	g.all.Go(func() {
		died(Death{p.Name, g.wait(p.Name, cmd), p.Server})
	})
	return nil
}

// serve is the thread that starts all members.
func (g *Group) serve() {
	runtime.LockOSThread()
	for f := range g.start {
		f()
	}
}

var errKilled = errors.New("the VM ends")

// Report passes a death to Died. It drops the death if nobody has read many before it.
func (g *Group) Report(d Death) {
	select {
	case g.Died <- d:
	default:
	}
}

func (g *Group) wait(name string, cmd *jail.Cmd) error {
	report, jailErr := cmd.Report()
	g.mu.Lock()
	g.reports[name] = report
	g.mu.Unlock()
	err := cmd.Wait()
	if jailErr != nil {
		return jailErr
	}
	return err
}

// Kill ends every member and waits until all have ended.
func (g *Group) Kill() {
	g.mu.Lock()
	g.killed = true
	for _, cmd := range g.members {
		cmd.Process.Kill()
	}
	g.mu.Unlock()
	g.all.Wait()
}

// Killer returns a function that kills the member that has a name now.
func (g *Group) Killer(name string) func() {
	g.mu.Lock()
	defer g.mu.Unlock()
	process := g.members[name].Process
	return func() { process.Kill() }
}

// Killed reports whether Kill was called.
func (g *Group) Killed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.killed
}

// Signal sends s to the hypervisor, and not to its file servers.
func (g *Group) Signal(s os.Signal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, cmd := range g.members {
		if !g.servers[name] {
			cmd.Process.Signal(s)
		}
	}
}

// PIDs returns the members' process ids by name.
func (g *Group) PIDs() map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	pids := map[string]int{}
	for name, cmd := range g.members {
		pids[name] = cmd.Process.Pid
	}
	return pids
}

// Gaps returns, for people, what each jail lacks: what this host can't give, and what
// the program has to keep. A jail that lacks nothing is in the list, too.
func (g *Group) Gaps() []drivers.Fact {
	g.mu.Lock()
	defer g.mu.Unlock()
	var facts []drivers.Fact
	for _, name := range slices.Sorted(maps.Keys(g.reports)) {
		facts = append(facts, drivers.Fact{Name: "jail of " + name, Value: g.reports[name].Verdict()})
	}
	return facts
}
