//go:build e2e

package programs

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"openshell-vm/drivers/vm/hypervisor"
	"openshell-vm/drivers/vm/jail"
	"openshell-vm/drivers/vm/monitor/logs"
)

// TestMain makes this test binary openshell-vmm, and what runs in its jails.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "jail" {
		jail.Main(os.Args[2:])
	}
	if len(os.Args) > 1 && os.Args[1] == "run" {
		fmt.Println("it runs")
		time.Sleep(time.Hour)
	}
	os.Exit(m.Run())
}

// member is this test binary in a jail.
func member(t *testing.T, name string, server bool) hypervisor.Process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binds, err := jail.Program(t.Context(), self)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(binds, func(b jail.Bind) bool { return b.Source == self })
	binds[i].Target = "/program"
	return hypervisor.Process{Name: name, Server: server, Jail: jail.Config{
		Profile: jail.Strict, Path: "/program", Args: []string{"run"}, Binds: binds, Proc: true, Devices: []string{"/dev/null"}, Tasks: 64,
	}}
}

// TestGroup starts members in real jails. One that is killed is the cause of the end of all,
// and one that is started aside is not.
func TestGroup(t *testing.T) {
	tools, err := logs.OpenTools(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	g := New()
	defer g.Kill()
	g.Place(Setting{ID: fmt.Sprint("test", os.Getpid()), Output: tools})
	aside := make(chan Death, 1)
	for _, err := range []error{
		g.Start(member(t, "hypervisor", false), g.Report), g.Start(member(t, "server", true), g.Report),
		g.Start(member(t, "network", false), func(d Death) { aside <- d }),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	names := []string{"hypervisor", "network", "server"}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		all := len(g.Gaps()) == len(names) && len(g.PIDs()) == len(names) // noted a moment after it runs
		if all && !slices.ContainsFunc(names, func(name string) bool { return tools.Said(name) != "it runs" }) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not all run; %v", g.PIDs())
		}
	}
	if pids, gaps := g.PIDs(), g.Gaps(); len(pids) != 3 || len(gaps) != 3 || gaps[0].Name != "jail of hypervisor" {
		t.Errorf("%v, %v", pids, gaps)
	}
	g.Killer("network")()
	if d := <-aside; !d.BySIGKILL() || g.Why(d) != "network ended: signal: killed" {
		t.Errorf("%v", d)
	}
	select {
	case d := <-g.Died:
		t.Errorf("the end of what runs aside is the VM's: %v", d)
	default:
	}
	g.Killer("hypervisor")()
	if d := g.End(<-g.Died); d.Name != "hypervisor" || !d.Forced() {
		t.Errorf("%v is the cause", d)
	}
	if err := g.Start(member(t, "late", false), g.Report); err != errKilled || !g.Killed() {
		t.Errorf("after the end: %v", err)
	}
}
