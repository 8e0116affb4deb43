//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fault is something that goes wrong with a running VM, and what ps -a has to say of it.
type fault struct {
	what  string
	cause func(w *world, vm remains)
	state []string // in ps's line
	// reason is how inspect's reason begins; "" if there must be none
	reason string
}

// moody is a workload that prints its pid. It can be told to run out of memory, itself or by a
// child.
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

// TestFaults causes one fault after the other in the same VM. Each time ps has to say what it
// was, nothing of the VM may be left running or mounted, the gateway must not start it again,
// and the next start has to find a fresh token. Whose VM it is makes a difference only on the host:
// what begins inside is done for one user, and each of the processes is killed for the other one.
func TestFaults(t *testing.T) {
	usersAtOnce(t, func(t *testing.T, w *world) {
		w.run("run", "-d", "--name", "box", "--ttl", "1h", "--memory", "128m", "--mount", w.readerDir()+":/witness", "--", "sh", "-c", moody)
		j := w.judgeOf(w.sandbox("box").Share)
		var faults []fault
		if w.uid != 0 {
			faults = deaths(w.vm("box"))
		}
		if w.uid == os.Getuid() {
			faults = append(faults, guestFaults...)
		}
		for _, f := range faults {
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

// TestDiesWithoutGateway kills a VM while no gateway runs. Its user has not ended it, so the
// next gateway says so, and starts it again with a fresh token.
func TestDiesWithoutGateway(t *testing.T) {
	asUser(t, func(t *testing.T, w *world) {
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

// deaths are the ways in which a VM can die with one of its processes. That of the network is
// not one: the guest goes on, and TestNetwork of drivers/vm sees to that.
func deaths(vm remains) (all []fault) {
	for _, name := range slices.Sorted(maps.Keys(vm.named)) {
		if name == "network" {
			continue
		}
		reason := name + " ended: signal: killed"
		if name == "monitor" { // which is who would have told
			reason = "its monitor ended without an exit status: it was killed, or the host went down"
		}
		kill := func(w *world, vm remains) { w.must(syscall.Kill(vm.named[name], syscall.SIGKILL)) }
		all = append(all, fault{name + "-killed", kill, []string{"dead: " + reason}, reason})
	}
	return all
}

// panicGuest panics the guest's kernel by an exec. The exec loses its guest.
func (w *world) panicGuest(remains) { w.try("exec", "box", "sh", "-c", "echo c >/proc/sysrq-trigger") }

// starveWorkload makes the workload itself take all memory. An attached client is told.
func (w *world) starveWorkload(remains) {
	w.run("exec", "box", "touch", "/self")
	if r := w.try("attach", "box"); r.code != 137 || !strings.Contains(r.stderr, "openshell-vm: "+outOfMemory+"\n") {
		w.Errorf("attach: exit code %d, stderr %q", r.code, r.stderr)
	}
}

// starveChild makes a child of the workload take all memory. The sandbox and its init go on,
// and the init has to see the next token. The workload's own end then has nothing to do with
// memory.
func (w *world) starveChild(remains) {
	w.run("exec", "box", "touch", "/child")
	w.eventually("the shell goes on after its child was killed", patience, func() bool {
		return strings.Contains(w.run("logs", "box"), "goes on after 137\n")
	})
	w.run("token", "rotate", "box")
	w.eventually("the guest's init sees the next generation", patience, func() bool {
		token := w.sandbox("box").Token
		return token.SeenGeneration == token.Generation
	})
	if s := w.sandbox("box"); s.State != "running" || s.Reason != "" {
		w.Errorf("with a child killed it is %s: %q", s.State, s.Reason)
	}
	w.try("exec", "box", "sh", "-c", "kill -9 $(cat /pid)") // which ends with the workload, or just before
}

// TestHungBoot boots a guest that never gets to its workload. It has to be given up, and the
// error and ps have to say so.
func TestHungBoot(t *testing.T) {
	asUser(t, func(t *testing.T, w *world) {
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

// shows waits until ps has all the words in a sandbox's line, and returns the line.
func (w *world) shows(name string, words ...string) (line string) {
	w.Helper()
	defer func() {
		if w.Failed() {
			w.Logf("ps -a: %s", line)
		}
	}()
	w.eventually(fmt.Sprintf("ps -a shows %q", words), patience, func() bool {
		for line = range strings.Lines(w.run("ps", "-a")) {
			if strings.HasPrefix(line, name+" ") {
				return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) })
			}
		}
		return false
	})
	return strings.TrimSpace(line)
}

// staysEnded checks that a gateway that saw a sandbox end does not start it again by itself,
// and that inspect has the whole reason.
func (w *world) staysEnded(f fault) {
	w.Helper()
	w.eventually("it is to be stopped", patience, func() bool { return w.sandbox("box").Desired == "stopped" })
	s, text := w.sandbox("box"), w.run("inspect", "box")
	if !strings.HasPrefix(s.Reason, f.reason) || f.reason == "" && s.Reason != "" || !strings.Contains(text, f.reason) {
		w.Errorf("the reason is %q, %q is wanted; inspect says\n%s", s.Reason, f.reason, text)
	}
	if ended := s.State == "exited" || s.State == "dead"; !ended {
		w.Errorf("it is %s again", s.State)
	}
}
