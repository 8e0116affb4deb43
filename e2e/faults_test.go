//go:build e2e

package e2e

import (
	"bytes"
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

// TestKilledProcesses kills each process of a VM in turn. ps says which it was,
// nothing of the VM is left running or mounted, and the next start finds a
// fresh token.
func TestKilledProcesses(t *testing.T) {
	usersAtOnce(t, func(t *testing.T, w *world) {
		s := w.start("victim", "1h")
		j := w.judgeOf(s.Share)
		for _, victim := range slices.Sorted(maps.Keys(w.vm("victim"))) {
			pids := w.vm("victim")
			w.must(syscall.Kill(pids[victim], syscall.SIGKILL))
			w.shows("victim", "dead: ", victim)
			w.gone(s.ID, pids)
			generation := w.sandbox("victim").Token.Generation
			w.run("start", "victim")
			w.readsFresh("victim", j, generation)
		}
	})
}

// TestHungBoot: a guest that does not get to its workload is given up, and the
// error and ps say so.
func TestHungBoot(t *testing.T) {
	usersAtOnce(t, func(t *testing.T, w *world) {
		w.setenv("OPENSHELL_ACCEL", "tcg")
		w.setenv("OPENSHELL_BOOT_DEADLINE", "600ms") // no guest boots in that under TCG
		w.run("create", "--name", "hung", "--", "true")
		id := w.sandbox("hung").ID
		r := w.try("start", "hung")
		w.Logf("start: %s", r.stderr)
		if r.code != 125 || !strings.Contains(r.stderr, "did not boot within 600ms, in 2 tries") || !strings.Contains(r.stderr, "\nhint: ") {
			t.Errorf("exit code %d", r.code)
		}
		w.shows("hung", "dead: the boot failed: the guest did not boot within 600ms")
		w.gone(id, nil)
	})
}

// TestGuestOutOfMemory: the guest's kernel kills what takes all memory. If that
// was the workload, ps says so; if not, the sandbox goes on.
func TestGuestOutOfMemory(t *testing.T) {
	usersAtOnce(t, func(t *testing.T, w *world) {
		const why = "the guest ran out of memory, and its kernel killed the workload"
		r := w.try("run", "--name", "hog", "--memory", "128m", "--", "tail", "/dev/zero")
		if r.code != 137 || !strings.Contains(r.stderr, why) {
			t.Errorf("exit code %d, stderr %q", r.code, r.stderr)
		}
		w.shows("hog", "exited (137)", why)
		hog := w.sandbox("hog")
		if hog.Reason != why {
			t.Errorf("inspect says %q", hog.Reason)
		}
		w.gone(hog.ID, nil)

		w.run("run", "-d", "--name", "parent", "--memory", "128m", "--", "sh", "-c", "tail /dev/zero; echo goes on; exec sleep 1000000")
		w.eventually("the shell goes on after its child was killed", time.Minute, func() bool {
			return strings.Contains(w.run("logs", "parent"), "goes on\n")
		})
		w.shows("parent", "running")
	})
}

// TestGuestPanic: a guest whose kernel gives up is dead, and ps says why.
func TestGuestPanic(t *testing.T) {
	usersAtOnce(t, func(t *testing.T, w *world) {
		w.run("run", "-d", "--name", "panic", "--", "sh", "-c", "sleep 1; echo c >/proc/sysrq-trigger")
		w.shows("panic", "dead: the guest's kernel panicked: sysrq triggered crash")
		w.gone(w.sandbox("panic").ID, nil)
	})
}

// shows waits until ps has all the words in a sandbox's line.
func (w *world) shows(name string, words ...string) {
	w.Helper()
	var line string
	defer func() { w.Logf("ps: %s", line) }()
	w.eventually(fmt.Sprintf("ps shows %q", words), time.Minute, func() bool {
		for line = range strings.Lines(w.run("ps", "-a")) {
			if strings.HasPrefix(line, name+" ") {
				return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) })
			}
		}
		return false
	})
}

// vm is the host's processes of a sandbox, by name.
func (w *world) vm(name string) map[string]int {
	w.Helper()
	pids := map[string]int{}
	for _, f := range w.sandbox(name).Details {
		if what, ok := strings.CutPrefix(f.Name, "pid of "); ok {
			pid, err := strconv.Atoi(f.Value)
			w.must(err)
			pids[what] = pid
		}
	}
	if len(pids) < 4 {
		w.Fatalf("inspect tells of %v: monitor, qemu and two virtiofsds are wanted", pids)
	}
	return pids
}

// gone waits until nothing of a VM is left: none of its processes, no process
// at all that has a directory of its mounted, and nobody in its cgroups.
func (w *world) gone(id string, pids map[string]int) {
	w.Helper()
	var left []string
	defer func() {
		if len(left) > 0 {
			w.Errorf("left behind of %s: %v", id, left)
		}
	}()
	w.eventually("nothing of the VM is left", 20*time.Second, func() bool {
		left = left[:0]
		for name, pid := range pids {
			if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && !bytes.Contains(stat, []byte(") Z ")) {
				left = append(left, name)
			}
		}
		left = append(append(left, mounters(id)...), jailed(id)...)
		return len(left) == 0
	})
}

// mounters are the processes, this one included, in whose mount namespace
// something of a sandbox is mounted.
func mounters(id string) (found []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/mountinfo")
	for _, file := range files {
		if data, err := os.ReadFile(file); err == nil && bytes.Contains(data, []byte(id)) {
			found = append(found, file)
		}
	}
	return found
}

// jailed are a sandbox's cgroups that processes are in.
func jailed(id string) (found []string) {
	filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(d.Name(), id) {
			if procs, err := os.ReadFile(filepath.Join(path, "cgroup.procs")); err == nil && len(procs) > 0 {
				found = append(found, path)
			}
		}
		return nil
	})
	return found
}
