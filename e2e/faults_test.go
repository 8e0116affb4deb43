//go:build e2e

package e2e

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fault is something that goes wrong with a running VM, and what ps -a is to
// say of it.
type fault struct {
	what  string
	cause func(w *world, vm remains)
	state []string // in ps's line
	// reason is what inspect's begins with; "" if there is to be none
	reason string
}

// moody is a workload that can be told to run out of memory, itself or by a
// child, and tells its process id.
const moody = `echo $$ >/pid; while :; do
	rm /child 2>/dev/null && { tail /dev/zero; echo "goes on after $?"; }
	rm /self 2>/dev/null && exec tail /dev/zero
	sleep 0.3
done`

// guestFaults begin inside the guest.
var guestFaults = []fault{
	{"guest-panics", (*world).panicGuest, []string{"dead: the guest's kernel panicked: sysrq triggered crash"},
		"the guest's kernel panicked: sysrq triggered crash; the last lines of its console: "},
	{"child-out-of-memory-then-killed", (*world).starveChild, []string{"exited (137)"}, ""},
	{"guest-out-of-memory", (*world).starveWorkload, []string{"exited (137)", outOfMemory}, outOfMemory},
}

const outOfMemory = "the guest ran out of memory, and its kernel killed the workload"

// TestFaults causes one fault after the other in the same VM. Each time ps says
// what it was, nothing of the VM is left running or mounted, the gateway leaves
// it at that, and the next start finds a fresh token.
func TestFaults(t *testing.T) {
	usersAtOnce(t, func(t *testing.T, w *world) {
		w.run("run", "-d", "--name", "box", "--ttl", "1h", "--memory", "128m", "--mount", w.readerDir()+":/witness", "--", "sh", "-c", moody)
		j := w.judgeOf(w.sandbox("box").Share)
		for _, f := range append(deaths(w.vm("box")), guestFaults...) {
			t.Run(f.what, func(t *testing.T) {
				w := w.as(t)
				w.run("start", "box") // it runs, unless the last fault could not be mended
				vm := w.vm("box")
				f.cause(w, vm)
				began := time.Now()
				line := w.shows("box", f.state...)
				t.Logf("ps -a, after %v: %s", time.Since(began).Round(10*time.Millisecond), line)
				w.gone(vm)
				w.staysEnded(f)

				generation := w.sandbox("box").Token.Generation
				w.run("start", "box")
				w.readsFresh("box", j, generation)
			})
		}
	})
}

// TestDiesWithoutGateway: what died while nobody looked was not ended by its
// user. The next gateway says so and starts it again, with a fresh token.
func TestDiesWithoutGateway(t *testing.T) {
	usersAtOnce(t, func(t *testing.T, w *world) {
		s := w.start("box", "1h")
		j := w.judgeOf(s.Share)
		vm := w.vm("box")
		w.killGateway()
		w.must(syscall.Kill(vm.named["monitor"], syscall.SIGKILL))
		w.gone(vm)
		t.Logf("ps -a at first: %s", w.shows("box", "vm"))
		t.Logf("ps -a then: %s", w.shows("box", "running"))
		w.readsFresh("box", j, s.Token.Generation)
	})
}

// deaths are the ends that each of a VM's processes can have.
func deaths(vm remains) (all []fault) {
	for _, name := range slices.Sorted(maps.Keys(vm.named)) {
		reason := name + " ended: signal: killed"
		if name == "monitor" { // which is who would have told
			reason = "its monitor ended without an exit status: it was killed, or the host went down"
		}
		kill := func(w *world, vm remains) { w.must(syscall.Kill(vm.named[name], syscall.SIGKILL)) }
		all = append(all, fault{name + "-killed", kill, []string{"dead: " + reason}, reason})
	}
	return all
}

// panicGuest's exec loses its guest.
func (w *world) panicGuest(remains) { w.try("exec", "box", "sh", "-c", "echo c >/proc/sysrq-trigger") }

// starveWorkload lets the workload itself take all memory, which whoever is
// attached to it is told.
func (w *world) starveWorkload(remains) {
	w.run("exec", "box", "touch", "/self")
	if r := w.try("attach", "box"); r.code != 137 || !strings.Contains(r.stderr, "openshell-vm: "+outOfMemory+"\n") {
		w.Errorf("attach: exit code %d, stderr %q", r.code, r.stderr)
	}
}

// starveChild lets a child of the workload take all memory: the sandbox goes on,
// and its init with it, which has to see the next token. The workload's own end
// has nothing to do with memory then.
func (w *world) starveChild(remains) {
	w.run("exec", "box", "touch", "/child")
	w.eventually("the shell goes on after its child was killed", 30*time.Second, func() bool {
		return strings.Contains(w.run("logs", "box"), "goes on after 137\n")
	})
	w.run("token", "rotate", "box")
	w.eventually("the guest's init sees the next generation", 10*time.Second, func() bool {
		token := w.sandbox("box").Token
		return token.SeenGeneration == token.Generation
	})
	if s := w.sandbox("box"); s.State != "running" || s.Reason != "" {
		w.Errorf("with a child killed it is %s: %q", s.State, s.Reason)
	}
	w.try("exec", "box", "sh", "-c", "kill -9 $(cat /pid)") // which ends with the workload, or just before
}

// TestHungBoot: a guest that does not get to its workload is given up, and the
// error and ps say so.
func TestHungBoot(t *testing.T) {
	usersAtOnce(t, func(t *testing.T, w *world) {
		w.setenv("OPENSHELL_ACCEL", "tcg")
		w.setenv("OPENSHELL_BOOT_DEADLINE", "600ms") // no guest boots in that under TCG
		w.run("create", "--name", "box", "--hypervisor", "qemu", "--", "true")
		id := w.sandbox("box").ID
		r := w.try("start", "box")
		t.Logf("start: %s", r.stderr)
		if r.code != 125 || !strings.Contains(r.stderr, "did not boot within 600ms, in 2 tries") || !strings.Contains(r.stderr, "\nhint: ") {
			t.Errorf("exit code %d", r.code)
		}
		reason := "the boot failed: the guest did not boot within 600ms"
		t.Logf("ps -a: %s", w.shows("box", "dead: "+reason))
		w.gone(remains{id: id})
		w.staysEnded(fault{reason: reason})
	})
}

// shows waits until ps has all the words in a sandbox's line, and gives that.
func (w *world) shows(name string, words ...string) (line string) {
	w.Helper()
	defer func() {
		if w.Failed() {
			w.Logf("ps -a: %s", line)
		}
	}()
	w.eventually(fmt.Sprintf("ps -a shows %q", words), time.Minute, func() bool {
		for line = range strings.Lines(w.run("ps", "-a")) {
			if strings.HasPrefix(line, name+" ") {
				return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) })
			}
		}
		return false
	})
	return strings.TrimSpace(line)
}

// staysEnded: a gateway that saw a sandbox end takes that for final. It is not
// started again behind its user's back, and inspect has the whole reason.
func (w *world) staysEnded(f fault) {
	w.Helper()
	w.eventually("it is to be stopped", 10*time.Second, func() bool { return w.sandbox("box").Desired == "stopped" })
	s, text := w.sandbox("box"), w.run("inspect", "box")
	if !strings.HasPrefix(s.Reason, f.reason) || f.reason == "" && s.Reason != "" || !strings.Contains(text, f.reason) {
		w.Errorf("the reason is %q, %q is wanted; inspect says\n%s", s.Reason, f.reason, text)
	}
	if ended := s.State == "exited" || s.State == "dead"; !ended {
		w.Errorf("it is %s again", s.State)
	}
}

// remains is what there is of a VM on the host, to be looked for when it is gone.
type remains struct {
	id         string
	named      map[string]int // the process ids that inspect tells
	processes  map[int]string // these and what they started, each with the time of its start
	namespaces []string       // the mount namespaces of the jails
	listening  []string       // the sockets' inodes
}

// vm finds all of a running one, and so proves that gone would.
func (w *world) vm(name string) remains {
	w.Helper()
	s := w.sandbox(name)
	vm := remains{id: s.ID, named: map[string]int{}}
	for _, fact := range s.Details {
		if what, ok := strings.CutPrefix(fact.Name, "pid of "); ok {
			pid, err := strconv.Atoi(fact.Value)
			w.must(err)
			vm.named[what] = pid
		}
	}
	vm.processes = family(vm.named["monitor"])
	listening := listeners()
	for pid := range vm.processes {
		if ns := mountNamespace(pid); ns != "" && ns != mountNamespace(os.Getpid()) && !slices.Contains(vm.namespaces, ns) {
			vm.namespaces = append(vm.namespaces, ns)
		}
		vm.listening = append(vm.listening, slices.DeleteFunc(sockets(pid), func(inode string) bool { return !listening[inode] })...)
	}
	for what, pid := range vm.named {
		if vm.processes[pid] == "" {
			w.Fatalf("%s, which is process %d, is none of the monitor's: %v", what, pid, vm.processes)
		}
	}
	// Only root may look into jails.
	if len(vm.listening) == 0 || os.Getuid() == 0 && (len(vm.namespaces) < len(vm.named)-1 || len(w.mounted(vm)) < len(vm.named)-1) {
		w.Fatalf("not all of the VM is found: %+v", vm)
	}
	return vm
}

// gone waits until nothing of a VM is left but processes that wait for their
// parent.
func (w *world) gone(vm remains) {
	w.Helper()
	var left []string
	defer func() {
		if len(left) > 0 {
			w.Errorf("left behind of %s: %v", vm.id, left)
		}
	}()
	w.eventually("nothing of the VM is left", 20*time.Second, func() bool {
		left = slices.Concat(running(vm), w.mounted(vm), jailed(vm.id))
		open := listeners()
		for _, inode := range vm.listening {
			if open[inode] {
				left = append(left, "a socket that listens: "+inode)
			}
		}
		return len(left) == 0
	})
}

// running are the processes of a VM that run, and any other that has to do with
// it by its arguments.
func running(vm remains) (found []string) {
	for pid, p := range hostProcesses() {
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // empty for one that has ended
		if (vm.processes[pid] == p.started || strings.Contains(string(cmdline), vm.id)) && p.state != "Z" && p.state != "X" {
			found = append(found, fmt.Sprintf("process %d %q", pid, cmdline))
		}
	}
	return found
}

// mounted are the processes, this one included, that are in a jail's mount
// namespace, or in whose own one something of a VM or its world is mounted, or
// such a namespace is kept.
func (w *world) mounted(vm remains) (found []string) {
	marks := append([]string{vm.id, w.home + "/state", w.home + "/run"}, vm.namespaces...)
	for pid := range hostProcesses() {
		mounts, _ := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid)) // it may just end
		has := func(mark string) bool { return strings.Contains(string(mounts), mark) }
		if slices.ContainsFunc(marks, has) || slices.Contains(vm.namespaces, mountNamespace(pid)) {
			found = append(found, fmt.Sprintf("a mount that process %d sees", pid))
		}
	}
	return found
}

// jailed are a sandbox's cgroups that processes are in.
func jailed(id string) (found []string) {
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(d.Name(), id) {
			if procs, err := os.ReadFile(filepath.Join(path, "cgroup.procs")); err == nil && len(procs) > 0 {
				found = append(found, path)
			}
		}
		return nil
	})
	return found
}

// process is one line of ps, for the host's processes.
type process struct {
	parent  int
	state   string
	started string // in the kernel's ticks: with it a process id is unique
}

func hostProcesses() map[int]process {
	all := map[int]process{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		stat, _ := os.ReadFile(file) // it may just end
		fields := strings.Fields(string(stat)[strings.LastIndexByte(string(stat), ')')+1:])
		if len(fields) < 20 {
			continue
		}
		parent, _ := strconv.Atoi(fields[1])
		all[pid] = process{parent, fields[0], fields[19]}
	}
	return all
}

// family is a process and all that it and its children started.
func family(root int) map[int]string {
	all := hostProcesses()
	found := map[int]string{root: all[root].started}
	for before := 0; before < len(found); {
		before = len(found)
		for pid, p := range all {
			if _, ok := found[p.parent]; ok {
				found[pid] = p.started
			}
		}
	}
	return found
}

// mountNamespace is what a process's is called, "" if that can't be seen.
func mountNamespace(pid int) string {
	name, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	return name
}

// sockets are the inodes of those that a process has open.
func sockets(pid int) (inodes []string) {
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, link := range links {
		name, _ := os.Readlink(link)
		if inode, ok := strings.CutPrefix(name, "socket:["); ok {
			inodes = append(inodes, strings.TrimSuffix(inode, "]"))
		}
	}
	return inodes
}

// listeners are the inodes of the unix sockets that take connections.
func listeners() map[string]bool {
	const acceptsConnections = "00010000"
	found := map[string]bool{}
	table, _ := os.ReadFile("/proc/net/unix")
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) >= 7 && f[3] == acceptsConnections {
			found[f[6]] = true
		}
	}
	return found
}
