//go:build e2e

package cgroup

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const patience = 2 * time.Minute

func init() {
	roles["rest"] = func(args []string) { enter(args); time.Sleep(time.Hour) }
	// Takes memory until it is killed, but not so much that it would hurt the host.
	roles["eat"] = func(args []string) {
		enter(args)
		var eaten [][]byte
		for range 512 {
			page := make([]byte, 1<<20)
			for i := range page {
				page[i] = byte(i)
			}
			eaten = append(eaten, page)
		}
		fmt.Println("not ended", len(eaten))
		time.Sleep(time.Hour)
	}
	// Starts 64 processes and prints how many could be started.
	roles["fork"] = func(args []string) {
		enter(args)
		started := 0
		for range 64 {
			if exec.Command("/proc/self/exe", "rest", "{}").Start() == nil {
				started++
			}
		}
		fmt.Println("started", started)
		time.Sleep(time.Hour)
	}
}

// enter is the beginning of each role.
func enter(args []string) {
	var g Group
	if err := json.Unmarshal([]byte(args[0]), &g); err != nil {
		panic(err)
	}
	if err := g.Enter(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("in")
}

// in is a role that runs in a group until the test's end.
type in struct {
	*exec.Cmd
	out   *bufio.Reader
	ended chan error
}

func run(t *testing.T, role string, g Group) *in {
	t.Helper()
	text, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	p := &in{Cmd: exec.Command("/proc/self/exe", role, string(text)), ended: make(chan error, 1)}
	// A process group of its own: the fork bomb's children end with it.
	p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	pipe, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(pipe)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.end)
	if line := p.line(t); line != "in" {
		t.Fatalf("%s says %q", role, line)
	}
	go func() { p.ended <- p.Wait() }()
	return p
}

func (p *in) line(t *testing.T) string {
	t.Helper()
	line, err := p.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func (p *in) end() { syscall.Kill(-p.Process.Pid, syscall.SIGKILL) }

// killed waits until the kernel has ended it.
func (p *in) killed(t *testing.T) {
	t.Helper()
	select {
	case err := <-p.ended:
		if exit, ok := err.(*exec.ExitError); !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Errorf("it ended by %v", err)
		}
	case <-time.After(patience):
		t.Fatal("it was not ended")
	}
}

func (p *in) lives() bool {
	select {
	case err := <-p.ended:
		p.ended <- err
		return false
	default:
		return true
	}
}

// vms makes two groups beside each other, as for two VMs.
func vms(t *testing.T, l Limits) (whole, a, b Group) {
	t.Helper()
	p := Here()
	if p.Memory == "" {
		t.Skipf("no memory can be limited here: %v", p.NoMemory)
	}
	whole = p.Group("openshell-test-" + strconv.Itoa(os.Getpid()))
	a, b = whole.Below("a"), whole.Below("b")
	for _, g := range []struct {
		Group
		Limits
	}{{whole, Limits{}}, {a, l}, {b, l}} {
		if err := g.Make(g.Limits); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := whole.Remove(); err != nil {
			t.Error(err)
		}
		if err := whole.Remove(); err != nil {
			t.Errorf("what is gone can't be removed: %v", err)
		}
		for _, dir := range whole.Dirs() {
			if _, err := os.Stat(dir); err == nil {
				t.Errorf("%s is left", dir)
			}
		}
	})
	return whole, a, b
}

// TestKernelEndsTheEater lets a process take all memory that it can get in one of two groups.
// The kernel has to kill it, and the other group has to go on.
func TestKernelEndsTheEater(t *testing.T) {
	_, a, b := vms(t, Limits{Memory: 64 << 20, Tasks: 100, Together: true})
	neighbour, companion := run(t, "rest", b), run(t, "rest", a)
	if killed, _ := a.OutOfMemory(); killed {
		t.Error("killed before anything was eaten")
	}
	eater := run(t, "eat", a)
	eater.killed(t)
	if killed, byLimit := a.OutOfMemory(); !killed || !byLimit {
		t.Errorf("the group tells %v, %v", killed, byLimit)
	}
	if killed, byLimit := b.OutOfMemory(); killed || byLimit || !neighbour.lives() {
		t.Errorf("the other group tells %v, %v, and its process lives: %v", killed, byLimit, neighbour.lives())
	}
	if isV2(a.Memory) {
		companion.killed(t) // Together
	} else if !companion.lives() {
		t.Error("version 1 has ended more than the eater")
	}
}

// TestKernelCountsTasks lets a process start others in a part of a group, and ends them all by it.
func TestKernelCountsTasks(t *testing.T) {
	_, a, _ := vms(t, Limits{Memory: 1 << 30})
	part := a.Part("part")
	if part.Tasks == "" {
		t.Skipf("no tasks can be counted here: %v", Here().NoTasks)
	}
	if err := part.Make(Limits{Tasks: 40}); err != nil {
		t.Fatal(err)
	}
	bomb := run(t, "fork", part)
	var started int
	if _, err := fmt.Sscanf(bomb.line(t), "started %d", &started); err != nil || started == 0 || started >= 40 {
		t.Errorf("%d were started: %v", started, err)
	}
	if err := a.Remove(); err == nil {
		t.Error("a group with processes in it was removed")
	}
	a.Kill()
	bomb.killed(t)
	if err := a.Remove(); err != nil {
		t.Error(err)
	}
}

// TestKernelGivesAPlace fails if there is no place where one should be: for root, and in the
// guest.
func TestKernelGivesAPlace(t *testing.T) {
	p := Here()
	t.Logf("%+v", p)
	if p.Memory == "" || p.Tasks == "" {
		if os.Geteuid() == 0 && os.Getenv("E2E_REQUIRE") == "1" {
			t.Errorf("memory: %v; tasks: %v", p.NoMemory, p.NoTasks)
		}
	}
}
