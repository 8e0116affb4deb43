//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/procfs"
)

// watchStopper is a workload that stops the guest's init, which has the watch, once the share says
// so: it puts process 1 into a cgroup and freezes that. Nothing else in the guest stands still, so
// it tells by a directory of the host what it reads meanwhile.
const watchStopper = `mount -t cgroup2 none /mnt && mkdir /mnt/first && echo 1 >/mnt/first/cgroup.procs
	while :; do case $(cat /etc/openshell/auth/watch 2>/dev/null) in
		stop) echo 1 >/mnt/first/cgroup.freeze; grep -q "frozen 1" /mnt/first/cgroup.events && cat /etc/openshell/auth/note >/out/read;;
		*) echo 0 >/mnt/first/cgroup.freeze; rm -f /out/read;;
	esac; sleep 0.2; done`

// TestNotSeen keeps a sandbox from seeing its share, or from telling that it does: the guest's
// watch is stopped, or a container has something mounted over the share. share put --wait has to
// end within the driver's bound and say so, and ps, inspect and events have to tell it; all is
// well again once that is undone.
func TestNotSeen(t *testing.T) {
	eachEngine(t, func(t *testing.T, w *world, e engine) {
		command, hide, show := []string{"sleep", "1000000"}, coverShare, uncoverShare
		reason := "it has another directory there than the share"
		if e.driver == "vm" {
			command, hide, show = []string{"sh", "-c", watchStopper}, stopWatch, startWatch
			reason = "its guest has answered nothing for "
		}
		out := filepath.Join(w.home, "out")
		w.must(os.Mkdir(out, 0o755))
		w.run(slices.Concat([]string{"run", "-d", "--name", "box", "--ttl", "1h", "--mount", out + ":/out:rw"}, e.flags, []string{"--"}, command)...)
		if r := w.tryWith("first", "share", "put", "--wait", "--wait-timeout", "1m", "box", "note=-"); r.code != 0 {
			t.Fatalf("all is well, and it is not seen: %s", r.stderr)
		}
		hide(w, "box")
		before := w.sandbox("box")

		r := w.tryWith("second", "share", "put", "--wait", "box", "note=-")
		n := w.sandbox("box").Token.Generation
		t.Logf("%s: after %v: %s", e.driver, r.took.Round(10*time.Millisecond), r.stderr)
		const bound = "3s" // the driver's and 2 s
		if r.code != 1 || !strings.Contains(r.stderr, fmt.Sprintf("see generation %d after %s: ", n, bound)) {
			t.Errorf("it is not seen, and it is told: exit code %d, %s", r.code, r.stderr)
		}
		w.shows("box", fmt.Sprintf("generation %d NOT SEEN inside for ", n), reason) // of a guest it is known after 5 s
		if s := w.sandbox("box"); s.State != api.StateRunning || s.Token.SeenGeneration != before.Token.SeenGeneration || s.Token.Failures != 0 {
			t.Errorf("it is shown as %s, %+v", s.State, s.Token)
		}
		r = w.try("share", "wait", "box")
		t.Logf("%s, later: %s", e.driver, r.stderr)
		if r.code != 1 || !strings.Contains(r.stderr, fmt.Sprintf("box is not known to see generation %d after %s: %s", n, bound, reason)) {
			t.Errorf("it is still not seen, and it is told: exit code %d, %s", r.code, r.stderr)
		}
		if e.driver == "vm" { // no token's validity depends on the watch
			w.eventually("what is new is read while the watch stands still", patience, func() bool { return w.readMeanwhile() == "second" })
		}
		show(w, "box")
		if r := w.try("share", "wait", "--timeout", "2m", "box"); r.code != 0 {
			t.Errorf("it can see it again: %s", r.stderr)
		}
		w.eventually("all is well again", patience, func() bool {
			token := w.sandbox("box").Token
			return token.UnseenSince.IsZero() && token.UnseenReason == "" && token.SeenGeneration == token.Generation && !strings.Contains(w.run("ps"), "NOT SEEN")
		})
		w.eventually("events tell both", patience, func() bool {
			return slices.Equal(w.actions("box", api.EventUnseen, api.EventSeen), []string{"unseen", "seen"})
		})
	})
}

// stopWatch stops a guest's init. That it shall is published by the usual path, so it may be the
// last thing that is seen.
func stopWatch(w *world, name string) {
	w.Helper()
	w.run("share", "put", name, "watch="+w.file("stop"))
	w.eventually("the guest's init stands still", patience, func() bool { return w.readMeanwhile() == "first" })
}

// readMeanwhile is what watchStopper read since the guest's init stands still.
func (w *world) readMeanwhile() string {
	got, _ := os.ReadFile(filepath.Join(w.home, "out/read"))
	return string(got)
}

func startWatch(w *world, name string) {
	w.Helper()
	w.run("share", "put", name, "watch="+w.file("go"))
}

// file makes a file.
func (w *world) file(content string) (path string) {
	w.Helper()
	f, err := os.CreateTemp(w.home, "file")
	w.must(err)
	_, err = f.WriteString(content)
	w.must(err)
	w.must(f.Close())
	return f.Name()
}

// coverShare mounts something over the share, where a container has it.
func coverShare(w *world, name string) {
	w.Helper()
	w.inContainer(name, "mount", "-t", "tmpfs", "none", "/etc/openshell/auth")
}

func uncoverShare(w *world, name string) {
	w.Helper()
	w.inContainer(name, "umount", "/etc/openshell/auth")
}

// inContainer runs a program of a container in its mount namespace, with all rights.
func (w *world) inContainer(name string, command ...string) {
	w.Helper()
	share := []byte("/shares/" + w.sandbox(name).ID + "/auth /etc/openshell/auth ro")
	for _, pid := range procfs.PIDs() {
		if mounts, err := os.ReadFile(procfs.Path(pid, "mountinfo")); err != nil || !bytes.Contains(mounts, share) {
			continue
		}
		out, err := exec.Command("nsenter", append([]string{"--target", fmt.Sprint(pid), "--mount", "--"}, command...)...).CombinedOutput()
		if err != nil {
			w.Fatalf("%q in %s: %v, %s", command, name, err, out)
		}
		return
	}
	w.Fatalf("no process of %s", name)
}

// actions returns which of some actions the events of a sandbox tell, in their order.
func (w *world) actions(name string, some ...string) (got []string) {
	w.Helper()
	for line := range strings.Lines(w.run("events", "-o", "json", "--filter", "name="+name)) {
		var e api.Event
		w.must(json.Unmarshal([]byte(line), &e))
		for _, action := range some {
			if e.Action == action {
				got = append(got, action)
			}
		}
	}
	return got
}
