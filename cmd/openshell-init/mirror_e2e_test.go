//go:build e2e

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/guest"
	"openshell-vm/internal/contract"
	"openshell-vm/internal/stream"
	"openshell-vm/internal/vocab"
)

// mirrorScript looks at the mirror, and waits for what happens there.
const mirrorScript = `
m=/etc/openshell/mirror/auth
awk '$2 == "/etc/openshell/mirror" {sub(",relatime", "", $4); print $3, $4}' /proc/mounts | sed 's/,size=.*//'
cat $m/sandbox.jwt; readlink $m/..data; stat -c '%n %a' $m /etc/openshell/mirror | tr '\n' ' '
echo x 2>/dev/null >$m/sandbox.jwt || echo "no write"
touch $m/other 2>/dev/null || echo "no new file"
/witness inotify $m &
cat`

// TestGuestMirror: a program that waits for inotify sees each publish in the mirror, read-only, and
// a mirror whose share does not answer steps aside.
func TestGuestMirror(t *testing.T) {
	v := prepare(t)
	build := exec.Command("go", "build", "-trimpath", "-o", v.path("rootfs/witness"), "openshell-vm/drivers/driverstest/witness")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s := spec(mirrorScript)
	s.Ephemeral, s.Stdin, s.MirrorDir = true, true, contract.MirrorDir
	v.boot(s)
	v.expect("Started")
	v.awaitOutput(0, "ready")
	want := "tmpfs ro,nosuid,nodev,noexec,noatime\ntoken 1\n..gen-00000001\n/etc/openshell/mirror/auth 755 /etc/openshell/mirror 755 no write\nno new file\nready\n"
	if got := v.out(0, stream.Stdout); got != want {
		t.Errorf("the sandbox says %q, want %q; stderr %q", got, want, v.out(0, stream.Stderr))
	}
	for n := 2; n <= 4; n++ {
		begin := time.Now()
		publish(t, v.auth, n)
		v.awaitOutput(0, fmt.Sprintf("event: token %d, ..gen-%08d\n", n, n))
		t.Logf("generation %d: %v from the publish until a program has read it after the event", n, time.Since(begin).Round(time.Millisecond))
	}

	// What the share prunes is gone, and what is withdrawn.
	must(t, os.RemoveAll(filepath.Join(v.auth, "..gen-00000002")))
	must(t, os.Remove(filepath.Join(v.auth, "..is-00000003")))
	must(t, os.Remove(filepath.Join(v.auth, "..gen-00000003/sandbox.jwt")))
	x := v.exec(guest.Exec{Process: shell(`cd /etc/openshell/mirror/auth
while [ -e ..gen-00000002 ] || [ -e ..gen-00000003/sandbox.jwt ]; do sleep 0.1; done; cat sandbox.jwt; df -k . | awk 'END {print $2, $3}'`)})
	v.expectExit(x.ID(), 0)
	if got := v.out(x.ID(), stream.Stdout); !strings.HasPrefix(got, "token 4\n20480 ") {
		t.Errorf("after pruning: %q", got)
	}

	// A share that can't be copied is told, and shown as it is. Then it can.
	must(t, os.Mkdir(filepath.Join(v.auth, "..gen-00000005"), 0o755))
	write(t, filepath.Join(v.auth, "..gen-00000005/sandbox.jwt"), "token 5")
	must(t, unix.Mkfifo(filepath.Join(v.auth, "..gen-00000005/fifo"), 0o444))
	must(t, os.Symlink("..gen-00000005", filepath.Join(v.auth, "..new")))
	must(t, os.Rename(filepath.Join(v.auth, "..new"), filepath.Join(v.auth, "..data")))
	v.awaitOutput(0, "event: token 5, /etc/openshell/auth/..data\n")
	if m := v.expect("Mirror"); m.Mirror == nil || !strings.Contains(m.Mirror.Problem, "fifo is no regular file") {
		t.Errorf("instead of the mirror's problem: %s", show(m))
	}
	publish(t, v.auth, 6)
	v.awaitOutput(0, "event: token 6, ..gen-00000006\n")
	if m := v.expect("Mirror"); m.Mirror == nil || m.Mirror.Problem != "" {
		t.Errorf("instead of the mirror's recovery: %s", show(m))
	}

	// A guest that was paused for longer than the mirror's patience.
	must(t, v.qemu.Process.Signal(unix.SIGSTOP))
	publish(t, v.auth, 7)
	time.Sleep(5 * time.Second) // this is the pause
	begin := time.Now()
	must(t, v.qemu.Process.Signal(unix.SIGCONT))
	v.awaitOutput(0, "event: token 7, ")
	t.Logf("after a pause: %v from its end until a program has read what was published meanwhile", time.Since(begin).Round(time.Millisecond))
	v.awaitOutput(0, "event: token 7, ..gen-00000007\n")
	v.workload.CloseInput()
	v.endsWhenAsked()
}

// endsWhenAsked waits for QEMU's end, whatever the guest tells meanwhile.
func (v *vm) endsWhenAsked() {
	v.t.Helper()
	select {
	case err := <-v.ended:
		must(v.t, err)
	case <-time.After(bootDeadline):
		v.t.Fatalf("the VM does not power off; its console: %s", &v.console)
	}
	if log := v.console.String(); strings.Contains(log, "openshell-init:") {
		v.t.Errorf("the init complains: %s", log)
	}
}

func shell(script string) vocab.Process { return vocab.Process{Args: []string{"sh", "-c", script}} }
