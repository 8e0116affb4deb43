//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"openshell-vm/drivers/driverstest/capture"
)

// token returns the token that is in a share now.
func (w *world) token(auth string) string {
	w.Helper()
	data, err := os.ReadFile(filepath.Join(auth, "sandbox.jwt"))
	w.must(err)
	return strings.TrimSpace(string(data))
}

// expire waits until a token is refused with no leeway.
func (j *judge) expire(raw string) {
	j.w.Helper()
	j.w.eventually("the token expires", patience, func() bool { return j.verify(raw, time.Now()) != nil })
}

// readsFresh expects one good reading inside, newer than the generation given.
func (w *world) readsFresh(name string, j *judge, than uint64) {
	w.Helper()
	w.witness(name, patience, func(r reading) bool {
		if err := j.check(r); err != nil {
			w.Errorf("%s: %v", name, err)
		}
		if r.Generation <= than {
			w.Errorf("%s reads generation %d, one after %d is wanted", name, r.Generation, than)
		}
		return true
	})
}

// refuses expects the gateway to refuse a token.
func (w *world) refuses(raw string) {
	w.Helper()
	if r := w.tryWith(raw, "token", "verify", "--leeway", "0s", "-"); r.code != 1 {
		w.Errorf("token verify of an expired token: exit code %d, 1 is wanted\n%s%s", r.code, r.stdout, r.stderr)
	}
}

// TestResumeAfterExpiry stops a VM, lets its token expire, and starts it again. It has to boot
// with a fresh token, its marker has to be there, and the old token has to be refused.
func TestResumeAfterExpiry(t *testing.T) {
	asUser(t, func(t *testing.T, w *world) {
		s := w.start("sleeper", "16s")
		j := w.judgeOf(s.Share)
		w.run("exec", "sleeper", "sh", "-c", "echo here >/marker; sync")
		old := w.token(s.Share)
		w.run("stop", "-t", "2", "sleeper")
		// A stopped sandbox may be renewed or not. Its last token expires in any case.
		j.expire(old)
		w.run("start", "sleeper")
		w.readsFresh("sleeper", j, s.Token.Generation)
		w.refuses(old)
		if got := w.run("exec", "sleeper", "cat", "/marker"); got != "here\n" {
			t.Errorf("the marker reads %q", got)
		}
	})
}

// TestResumeAfterKill does the same, and kills the gateway at each named moment. The next gateway
// has to find a consistent share, and to go on.
func TestResumeAfterKill(t *testing.T) {
	asUser(t, func(t *testing.T, w *world) {
		w.faulty()
		s := w.start("victim", "16s")
		j := w.judgeOf(s.Share)
		for _, point := range []string{"mint-commit", "commit-announce", "record-start"} {
			w.run("stop", "-t", "2", "victim")
			old, before := w.token(s.Share), w.gatewayPID()
			j.expire(old)
			w.failAt(point)
			// This call fails with the killed gateway. The next call finds the next gateway,
			// which may already have started the sandbox.
			first := w.try("start", "victim")
			w.eventually("the gateway was killed at "+point, patience, func() bool {
				_, err := os.Stat(w.faultFile())
				return os.IsNotExist(err)
			})
			w.eventually("another gateway runs", patience, func() bool { pid := w.gatewayPID(); return pid != 0 && pid != before })
			w.run("start", "victim")
			w.eventually("it runs", patience, func() bool { return w.sandbox("victim").State == "running" })
			w.readsFresh("victim", j, s.Token.Generation)
			w.refuses(old)
			t.Logf("killed at %s: the call said %q (exit code %d), the sandbox came back with generation %d",
				point, strings.TrimSpace(first.stderr), first.code, w.sandbox("victim").Token.Generation)
		}
	})
}

// TestGatewayDownLongerThanTTL kills the gateway and its supervisor while 20 shares exist, lets
// every token expire, and starts a gateway by hand. The gateway has to renew all shares by
// itself. After that, no read in the running guest that begins later than the driver's bound may
// find an old token.
func TestGatewayDownLongerThanTTL(t *testing.T) {
	asUser(t, func(t *testing.T, w *world) {
		// The workload itself is the witness: the monitor logs its output with times, also while
		// there is no gateway.
		w.run("run", "-d", "--name", "runner", "--ttl", "16s", "--mount", w.readerDir()+":/witness",
			"--", "/witness/reader", "-count", "0", "-every", "5ms", "-changes")
		s := w.sandbox("runner")
		judges := []*judge{w.judgeOf(s.Share)}
		for i := range 19 {
			judges = append(judges, w.judgeOf(w.makeShare(fmt.Sprintf("own%02d", i))))
		}
		w.killGateway()
		old := make([]string, len(judges))
		for i, j := range judges {
			old[i] = w.token(j.auth)
		}
		for i, j := range judges {
			j.expire(old[i])
		}

		before := len(w.said(s.ID))
		began := time.Now()
		w.startGateway()
		for i, j := range judges {
			w.eventually("share "+j.auth+" is fresh", patience, func() bool {
				now := w.token(j.auth)
				return now != old[i] && j.verify(now, time.Now()) == nil
			})
		}
		onDisk := time.Since(began)
		w.eventually("the guest reads another token", patience, func() bool { return len(w.said(s.ID)) > before })
		first := w.said(s.ID)[before]
		if err := judges[0].check(first); err != nil {
			t.Error(err)
		}
		late := time.Unix(0, first.Before).Sub(judges[0].since(first.Generation))
		t.Logf("%d shares fresh %v after the gateway's exec; the guest's last read of what was before began %v after its own was",
			len(judges), onDisk.Round(time.Millisecond), late.Round(time.Millisecond))
		if late > staleness+clockSlack {
			t.Errorf("a guest may read what was before for %v", staleness)
		}
		for _, raw := range old {
			w.refuses(raw)
		}
	})
}

// said returns the readings in the log of a sandbox whose workload is the witness, each with the
// time at which the monitor read it.
func (w *world) said(id string) (all []reading) {
	w.Helper()
	log, err := os.ReadFile(filepath.Join(w.stateDir(), "sandboxes", id, "stdio.log"))
	w.must(err)
	for line := range strings.Lines(string(log)) {
		fields := strings.SplitN(strings.TrimSpace(line), " ", 4) // time, stream, F, text
		if len(fields) != 4 || fields[2] != "F" {
			continue
		}
		var r reading
		w.must(json.Unmarshal([]byte(fields[3]), &r))
		r.arrived, err = time.Parse(time.RFC3339Nano, fields[0])
		w.must(err)
		all = append(all, r)
	}
	return all
}

// killGateway kills the gateway, and its supervisor, which would restart it.
func (w *world) killGateway() {
	w.Helper()
	for range 100 {
		alive := 0
		for pid, cmdline := range w.processes() {
			if strings.Contains(cmdline, "openshell-gateway") {
				alive++
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		if alive == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	w.Fatal("the gateway cannot be killed")
}

// startGateway starts the gateway without a supervisor. The world's end stops it.
func (w *world) startGateway() {
	w.Helper()
	cmd := w.command(context.Background(), "openshell-gateway")
	w.must(cmd.Start())
	go func() { _ = cmd.Wait() }()
}

// TestWaitOutlivesTheGateway kills the gateway while one client waits for a sandbox, and another
// follows the log of a silent one. Both have to go on, and to learn what comes then.
func TestWaitOutlivesTheGateway(t *testing.T) {
	asUser(t, func(t *testing.T, w *world) {
		w.run("run", "-d", "--name", "box", "--ephemeral", "--", "sh", "-c", "trap 'echo last words; exit 7' TERM; touch /ready; while :; do sleep 0.1; done")
		w.eventually("its trap is set", patience, func() bool { return w.try("exec", "box", "test", "-e", "/ready").code == 0 })
		ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
		defer cancel()
		said := map[string]*capture.Buffer{"wait": {}, "logs": {}}
		ended := make(chan error, len(said))
		for name, args := range map[string][]string{"wait": {"wait", "box"}, "logs": {"logs", "-f", "box"}} {
			cmd := w.command(ctx, "openshell-vm", args...)
			cmd.Stdout, cmd.Stderr = said[name], said[name]
			w.must(cmd.Start())
			w.eventually("it is connected", patience, func() bool {
				files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", cmd.Process.Pid))
				return slices.ContainsFunc(files, func(file string) bool {
					to, _ := os.Readlink(file)
					return strings.HasPrefix(to, "socket:")
				})
			})
			go func() {
				err := cmd.Wait()
				if err != nil {
					err = fmt.Errorf("%s: %w", name, err)
				}
				ended <- err
			}()
		}
		w.killGateway()
		w.run("stop", "-t", "180", "box")
		for range said {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		if said["wait"].String() != "7\n" || !strings.Contains(said["logs"].String(), "last words\n") {
			t.Errorf("wait says %q, logs -f %q", said["wait"], said["logs"])
		}
	})
}
