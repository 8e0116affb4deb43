//go:build e2e && takeover

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"openshell-vm/gateway/api"
)

// upgrades are the ways from one version's gateway to the next one's. Each is called while the old
// gateway runs. install replaces the old programs by the new ones; old ones that run go on.
var upgrades = []struct {
	name string
	do   func(w *takeover, install func())
	end  string // how a sandbox that runs on ends then: stop or kill
}{
	{"stop", func(w *takeover, install func()) { w.run("gateway", "stop"); install(); w.run("ps") }, "stop"},
	{"kill-both", func(w *takeover, install func()) { install(); w.killGateway(); w.run("ps") }, "kill"},
	{"kill-gateway", (*takeover).replacedByItsSupervisor, "stop"},
	{"restart", func(w *takeover, install func()) { install(); w.run("gateway", "restart") }, "kill"},
}

// TestTakeover lets this version's gateway take over sandboxes that an older version made and runs.
// None of them may start anew, and everything must work with them.
func TestTakeover(t *testing.T) {
	old, version := oldPrograms(t)
	users := takeoverUsers(t)
	t.Run("mixed", func(t *testing.T) { mixedPrograms(t, users[0], old) })
	for _, user := range users {
		t.Run(user.name, func(t *testing.T) {
			t.Parallel() // neither has to do with the other
			for _, u := range upgrades {
				t.Run(u.name, func(t *testing.T) {
					w := newTakeover(t, user, old)
					w.makeAll(user.engines)
					u.do(w, func() { w.install(programs(t), allPrograms) })
					w.isServedByThisVersion(version)
					w.wereKept()
					w.oldCommandLineWorks()
					for _, b := range w.boxes {
						w.isRenewed(b)
						w.isServed(b)
						w.ends(b, u.end)
						w.startsAnew(b)
					}
					w.stoppedOneStarts()
					w.ownContainerGoesOn()
					w.removeAll()
				})
			}
		})
	}
}

// mixedPrograms replaces programs one by one. Until the gateway is restarted, programs of two
// versions have to work together, or to say that they can't.
func mixedPrograms(t *testing.T, user takeoverUser, old string) {
	w := newTakeover(t, user, old)
	w.install(programs(t), "openshell-vm")
	if r := w.try("ps"); r.code != 0 && (r.code != 125 || !strings.Contains(r.stderr, "openshell-gateway is of another version")) {
		t.Errorf("an older gateway program: %+v", r)
	} else {
		t.Logf("an older gateway program: exit code %d %s", r.code, r.stderr)
	}
	w.install(old, "openshell-vm")
	w.run("ps")
	w.install(programs(t), allPrograms)
	for _, e := range user.engines {
		args := append([]string{"run", "--rm"}, e.flags...)
		if r := w.try(append(args, "--", "sh", "-c", "echo ran; exit 5")...); r.code != 5 || r.stdout != "ran\n" {
			t.Errorf("%s by an older gateway that runs on: %+v", e.driver, r)
		}
	}
	w.run("gateway", "stop")
	w.install(old, "openshell-vm")
	w.run("ps")
	w.install(programs(t), "openshell-vm")
	w.run("ps")
}

// replacedByItsSupervisor kills the gateway. The old version's supervisor starts the new one, which
// is in its place now.
func (w *takeover) replacedByItsSupervisor(install func()) {
	w.Helper()
	before := w.gatewayPID()
	install()
	w.must(syscall.Kill(before, syscall.SIGKILL))
	w.await("another gateway runs", func() bool { pid := w.gatewayPID(); return pid != 0 && pid != before })
}

// makeAll lets the old version make and run everything.
func (w *takeover) makeAll(engines []engine) {
	w.Helper()
	for _, e := range engines {
		w.boxes = append(w.boxes, w.make(e, e.driver))
	}
	w.stopped = w.make(engines[len(engines)-1], "stopped")
	w.run("stop", "-t", "180", "stopped")
	w.stopped.before = w.sandbox("stopped")

	args := strings.Fields(w.run("share", "create", "--ttl", "16s", "agent"))
	w.share = strings.TrimSpace(w.run("share", "create", "--ignore", "--quiet", "agent"))
	w.own = w.runOwn(w.cli(engines[1].driver), append(args, engineImage, "sh", "-c", workload)...)
	w.ownLife = w.containerLife(w.own.cli, w.own.id)
}

func (w *takeover) make(e engine, name string) *box {
	w.Helper()
	args := []string{"run", "-d", "--name", name, "--ttl", "16s", "--env", "WORD=here", "--mount", w.readerDir() + ":/given"}
	w.run(append(append(args, e.flags...), "--", "sh", "-c", workload)...)
	b := &box{engine: e, name: name}
	w.await(name+" says that it began", func() bool { b.began = w.saidToBegin(b); return b.began != "" })
	w.run("exec", name, "sh", "-c", "test -x /given/reader; echo here >/marker; sync")
	b.before, b.life = w.sandbox(name), w.life(b)
	return b
}

var began = regexp.MustCompile(`(?m)^began .*$`)

// saidToBegin returns all lines in the log with which the workload has begun.
func (w *takeover) saidToBegin(b *box) string {
	return strings.Join(began.FindAllString(w.run("logs", b.name), -1), "\n")
}

func (w *takeover) isServedByThisVersion(old string) {
	w.Helper()
	var s api.Status
	w.json(&s, "gateway", "status")
	if s.Version == old || len(s.Unreadable) > 0 {
		w.Errorf("after the takeover: version %s (the old one is %s), unreadable records %v", s.Version, old, s.Unreadable)
	}
	if s.Sandboxes != len(w.boxes)+1 || s.Shares != 1 {
		w.Errorf("after the takeover there are %d sandboxes and %d shares", s.Sandboxes, s.Shares)
	}
}

// wereKept waits until all sandboxes run under the new gateway, and checks that none was restarted.
func (w *takeover) wereKept() {
	w.Helper()
	for _, b := range w.boxes {
		w.await(b.name+" runs", func() bool { return w.sandbox(b.name).State == api.StateRunning })
		now := w.sandbox(b.name)
		if now.ID != b.before.ID || !now.StartedAt.Equal(b.before.StartedAt) || now.Share != b.before.Share || now.Reason != "" {
			w.Errorf("%s is %+v now, and was %+v", b.name, now, b.before)
		}
		if said := w.saidToBegin(b); said != b.began {
			w.Errorf("%s: its workload says %q, and said %q", b.name, said, b.began)
		}
		if life := w.life(b); life != b.life {
			w.Errorf("%s: the host has %s, and had %s", b.name, life, b.life)
		}
	}
	now := w.sandbox("stopped")
	if now.State != api.StateExited || now.ExitCode == nil || *now.ExitCode != 7 || now.Desired != api.WantStopped {
		w.Errorf("the stopped one is %+v now, and was %+v", now, w.stopped.before)
	}
}

// oldCommandLineWorks uses the old CLI with the new gateway, as a shell with the old path in its
// cache does, or a script with another path.
func (w *takeover) oldCommandLineWorks() {
	w.Helper()
	cmd := w.command(w.Context(), "openshell-vm", "ps", "-a")
	cmd.Path = filepath.Join(w.old, "openshell-vm")
	out, err := cmd.CombinedOutput()
	for _, b := range append(w.boxes, w.stopped) {
		if err != nil || !strings.Contains(string(out), b.name) {
			w.Errorf("the old ps -a: %v\n%s", err, out)
			return
		}
	}
}

// isRenewed checks that the workload sees a renewal by the schedule, and one by rotate.
func (w *takeover) isRenewed(b *box) {
	w.Helper()
	seen := func() uint64 { return lastGeneration(w.run("logs", b.name)) }
	first := w.sandbox(b.name).Token.Generation
	w.await(b.name+" is renewed when it is due", func() bool { return seen() > first })
	before := w.token(b.before.Share)
	w.run("token", "rotate", b.name)
	rotated := w.sandbox(b.name).Token.Generation
	w.await(b.name+" sees the token that was asked for", func() bool { return seen() >= rotated })
	if now := w.token(b.before.Share); now == before {
		w.Errorf("%s: token rotate changed nothing", b.name)
	}
	if r := w.tryWith(w.token(b.before.Share), "token", "verify", "-"); r.code != 0 {
		w.Errorf("%s: its token is refused: %+v", b.name, r)
	}
}

var generation = regexp.MustCompile(`(?m)^generation ([0-9]+)`)

// lastGeneration returns the newest generation that the workload reports in its log.
func lastGeneration(log string) uint64 {
	all := generation.FindAllStringSubmatch(log, -1)
	if len(all) == 0 {
		return 0
	}
	n, _ := strconv.ParseUint(all[len(all)-1][1], 10, 64) // digits
	return n
}

// isServed uses all commands for a running sandbox.
func (w *takeover) isServed(b *box) {
	w.Helper()
	if r := w.try("exec", b.name, "sh", "-c", "cat /marker; exit 3"); r.code != 3 || r.stdout != "here\n" {
		w.Errorf("%s: exec: %+v", b.name, r)
	}
	input := strings.Repeat("0123456789abcde\n", 64<<10/16)
	if r := w.tryWith(input, "exec", "-i", b.name, "cat"); r.code != 0 || r.stdout != input {
		w.Errorf("%s: of %d bytes exec -i gives %d back, exit code %d: %s", b.name, len(input), len(r.stdout), r.code, r.stderr)
	}
	if out := w.run("inspect", b.name); !strings.Contains(out, b.before.ID) {
		w.Errorf("inspect %s: %s", b.name, out)
	}
	if out := w.run("logs", "--tail", "1", b.name); !strings.HasPrefix(out, "generation ") {
		w.Errorf("logs --tail 1 %s: %q", b.name, out)
	}
	out := w.run("ps")
	if !regexp.MustCompile(`(?m)^.*\b` + b.name + `\b.*\brunning\b`).MatchString(out) {
		w.Errorf("ps:\n%s", out)
	}
}

// ends stops or kills a sandbox. Clients that wait for it, follow its log or are attached to it have
// to learn of the end.
func (w *takeover) ends(b *box, how string) {
	w.Helper()
	wait, logs, attach := w.background("wait", b.name), w.background("logs", "-f", b.name), w.background("attach", "--no-stdin", b.name)
	w.await("logs -f and attach of "+b.name+" are connected", func() bool {
		w.run("token", "rotate", b.name) // the workload says that it sees it
		return lastGeneration(logs.said.String()) > 0 && lastGeneration(attach.said.String()) > 0
	})
	codes := []int{7}
	if how == "stop" {
		w.run("stop", "-t", "180", b.name)
	} else {
		codes[0] = 137
		w.run("kill", b.name)
		if b.driver == "vm" { // an old guest's init asks politely first, and waits for nothing
			codes = append(codes, 143, 7)
		}
	}
	attached, waited, followed := <-attach.ended, <-wait.ended, <-logs.ended
	if !slices.Contains(codes, attached) {
		w.Errorf("%s %s: attach ends with %d, %d is wanted; it said %q", how, b.name, attached, codes, attach.said.String())
	}
	if waited != 0 || !slices.ContainsFunc(codes, func(code int) bool { return wait.said.String() == fmt.Sprintln(code) }) {
		w.Errorf("%s %s: wait ends with %d and says %q; %d is wanted", how, b.name, waited, wait.said.String(), codes)
	}
	if followed != 0 {
		w.Errorf("%s %s: logs -f ends with %d", how, b.name, followed)
	}
	for _, c := range []*client{logs, attach} {
		if said := c.said.String(); how == "stop" && !strings.HasSuffix(said, "\nends\n") {
			w.Errorf("%s was stopped, and who listened heard %q", b.name, said)
		}
	}
	w.await(b.name+" has ended", func() bool { return w.sandbox(b.name).State == api.StateExited })
}

// startsAnew starts a sandbox. What it had written has to be there, and it has to get a fresh token.
func (w *takeover) startsAnew(b *box) {
	w.Helper()
	w.run("start", b.name)
	w.await(b.name+" begins anew", func() bool { said := w.saidToBegin(b); return said != "" && said != b.began })
	if got := w.run("exec", b.name, "sh", "-c", "test -x /given/reader && cat /marker"); got != "here\n" {
		w.Errorf("%s: its marker reads %q", b.name, got)
	}
	if said := w.saidToBegin(b); !strings.HasPrefix(said, "began here ") {
		w.Errorf("%s says %q: its environment is another", b.name, said)
	}
	if life := w.life(b); life == b.life {
		w.Errorf("%s was started, and the host has %s still", b.name, life)
	}
	now := w.sandbox(b.name).Token.Generation
	w.await(b.name+" sees its token renewed", func() bool { return lastGeneration(w.run("logs", b.name)) > now })
	if r := w.try("stop", "-t", "180", b.name); r.code != 0 || r.stderr != "" {
		w.Errorf("stop %s: %+v", b.name, r)
	}
	if r := w.try("wait", b.name); r.stdout != "7\n" {
		w.Errorf("%s was started anew and stopped: wait gives %+v", b.name, r)
	}
}

func (w *takeover) stoppedOneStarts() {
	w.Helper()
	w.run("start", "stopped")
	w.await("the stopped one begins anew", func() bool { said := w.saidToBegin(w.stopped); return said != "" && said != w.stopped.began })
	if r := w.tryWith(w.token(w.stopped.before.Share), "token", "verify", "-"); r.code != 0 {
		w.Errorf("the stopped one has started, and its token is refused: %+v", r)
	}
}

// ownContainerGoesOn checks a share that the old version made, in a container of the user's own.
func (w *takeover) ownContainerGoesOn() {
	w.Helper()
	seen := func() uint64 { return lastGeneration(w.own.engine("logs", w.own.id)) }
	first := seen()
	w.await("the container's share is renewed", func() bool { return seen() > first })
	file := filepath.Join(w.home, "more.txt")
	w.must(os.WriteFile(file, []byte("more\n"), 0o644))
	w.run("share", "put", "agent", file)
	if got := w.own.engine("exec", w.own.id, "cat", "/etc/openshell/auth/more.txt"); got != "more\n" {
		w.Errorf("the file that was put into the container's share reads %q", got)
	}
	if life := w.containerLife(w.own.cli, w.own.id); life != w.ownLife {
		w.Errorf("the user's own container: the engine has %s, and had %s", life, w.ownLife)
	}
	w.run("keys", "rotate")
	w.await("the container sees the share of the new key", func() bool { return seen() >= w.generation("agent") })
	if r := w.tryWith(w.token(w.share), "token", "verify", "-"); r.code != 0 {
		w.Errorf("after keys rotate its token is refused: %+v", r)
	}
	if again := strings.TrimSpace(w.run("share", "create", "--ignore", "--quiet", "agent")); again != w.share {
		w.Errorf("the share lies in %s now, and lay in %s", again, w.share)
	}
}

// generation returns a share's current generation.
func (w *takeover) generation(share string) uint64 {
	w.Helper()
	var all []api.Share
	w.json(&all, "share", "inspect", share)
	if len(all) != 1 {
		w.Fatalf("share inspect %s gives %+v", share, all)
	}
	return all[0].Token.Generation
}

// removeAll removes everything, and checks that nothing is left; the world's end looks for processes
// and mounts. After each exec Podman keeps a conmon for five minutes: that one does not count.
func (w *takeover) removeAll() {
	w.Helper()
	for _, b := range append(w.boxes, w.stopped) {
		w.run("rm", "-f", b.name)
		w.await("nothing of "+b.name+" is left", func() bool { return len(w.left(b)) == 0 })
	}
	w.own.engine("rm", "-f", w.own.id)
	w.run("share", "rm", "agent")
	var s api.Status
	w.json(&s, "gateway", "status")
	for _, pattern := range []string{w.stateDir() + "/sandboxes/*", w.stateDir() + "/shares/*", s.RuntimeDir + "/vms/*"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			w.Errorf("left behind: %v", found)
		}
	}
}

// left returns what the host or the engine still has of a removed sandbox.
func (w *takeover) left(b *box) (found []string) {
	w.Helper()
	if cli := w.cli(b.driver); cli != nil {
		return strings.Fields(w.engine(cli, "ps", "-aq", "--filter", "label=openshell.ai/sandbox-id="+b.before.ID))
	}
	cgroups, _ := filepath.Glob("/sys/fs/cgroup/*/*" + b.before.ID + "*")
	return slices.Concat(running(remains{id: b.before.ID}), jailed(b.before.ID), cgroups)
}
