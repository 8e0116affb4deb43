//go:build e2e

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/vm/guest"
	"openshell-vm/internal/stream"
	"openshell-vm/internal/vocab"
)

// TestGuestView looks at the sandbox from inside, as its root.
func TestGuestView(t *testing.T) {
	v := prepare(t)
	must(t, os.MkdirAll(v.path("shares/m0/deep"), 0o755))
	must(t, os.MkdirAll(v.path("shares/m1"), 0o755))
	write(t, v.path("shares/m0/deep/hidden"), "")
	write(t, v.path("shares/m1/file"), "inner mount\n")
	s := spec(`
cat /etc/openshell/auth/sandbox.jwt /etc/plain /srv/deep/file
grep box /etc/hosts; hostname
echo "user $(id -u), home $HOME, path $PATH, term ${TERM-none}, var $VAR, in $(pwd)"
echo changed >/etc/plain && cat /etc/plain
echo x 2>/dev/null >/etc/openshell/auth/sandbox.jwt || echo "no write to the share"
stat -c '%n %a %u' /etc/openshell /
awk '$3 == "virtiofs" {sub(",relatime", "", $4); print $2, $4}' /proc/mounts
echo $(ls /dev)
ls -d /proc/self /sys/fs/cgroup/cgroup.procs /boot /modules /init 2>/dev/null
ping -c1 -w9 127.0.0.1 >/dev/null && echo "lo is up"
for p in /sys/class/virtio-ports/vport*; do
	mknod /tmp/p c $(tr : ' ' <$p/dev); cat /tmp/p 2>&1; rm /tmp/p
done
unshare -U true && echo "user namespaces work"
kill -9 1; kill 1; kill -QUIT 1; kill -HUP 1
sleep 1000 & (sleep 1000 &)
echo "to stderr" >&2`)
	s.Process.Env = []string{"VAR=a 'b' \"c\"", "HOME=/somewhere"}
	s.Process.Dir = "/home"
	s.Mounts = []guest.GuestMount{{Name: "m1", Target: "/srv/deep"}, {Name: "m0", Target: "/srv"}}
	v.boot(s)
	if m := v.expect("Started"); m.Started == nil || m.Started.PID < 2 {
		t.Errorf("instead of Started: %s", show(m))
	}
	v.finish(0)
	want := `token 1
from the rootfs
inner mount
127.0.1.1	box
box
user 0, home /somewhere, path /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin, term none, var a 'b' "c", in /home
changed
no write to the share
/etc/openshell 755 0
/ 755 0
/srv ro,nosuid,nodev
/srv/deep ro,nosuid,nodev
/etc/openshell/auth ro,nosuid,nodev,noexec
fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero
/proc/self
/sys/fs/cgroup/cgroup.procs
lo is up
cat: can't open '/tmp/p': Device or resource busy
cat: can't open '/tmp/p': Device or resource busy
user namespaces work
`
	if got := v.out(0, stream.Stdout); got != want {
		t.Errorf("the sandbox says:\n%s\nwant:\n%s", got, want)
	}
	if got := v.out(0, stream.Stderr); got != "to stderr\n" {
		t.Errorf("on stderr: %q", got)
	}
	if _, err := os.Stat(v.path("rootfs/srv")); err == nil {
		t.Error("the rootfs on the host was written to")
	}
}

// TestGuestUser runs as an ordinary user who owns the token. The user's changes have to
// survive a stop and a start.
func TestGuestUser(t *testing.T) {
	v := prepare(t)
	s := spec(`
id; echo $HOME; cat /etc/openshell/auth/sandbox.jwt
echo again >/dev/stdout; echo again >/dev/stderr
ulimit -n; ulimit -Hn
[ -e $HOME/kept ] && cat $HOME/kept
echo "a change" >/tmp/kept; cat /tmp/kept
exit 7`)
	s.Process.User = "jo"
	v.boot(s)
	v.expect("Started")
	v.finish(7)
	want := "uid=1234(jo) gid=1235(jo) groups=44(video),1235(jo)\n/home/jo\ntoken 1\nagain\n1024\n524288\na change\n"
	if got := v.out(0, stream.Stdout); got != want || v.out(0, stream.Stderr) != "again\n" {
		t.Errorf("the sandbox says %q, want %q", got, want)
	}
	v.expectCleanDisk()

	s = spec(`cat /tmp/kept; cat /etc/openshell/auth/sandbox.jwt || echo not mine`)
	s.Process.User = "4321:4321"
	s.TokenUser = "jo"
	v.boot(s)
	v.expect("Started")
	v.finish(0)
	if got, want := v.out(0, stream.Stdout), "a change\nnot mine\n"; got != want {
		t.Errorf("after a restart the sandbox says %q, want %q", got, want)
	}

	s = spec(`cat /tmp/kept || echo gone`)
	s.Ephemeral = true
	v.boot(s)
	v.expect("Started")
	v.finish(0)
	if got, want := v.out(0, stream.Stdout), "gone\n"; got != want {
		t.Errorf("an ephemeral sandbox says %q, want %q", got, want)
	}
}

// TestGuestRefusals boots with commands that can't be run.
func TestGuestRefusals(t *testing.T) {
	v := prepare(t)
	for _, c := range []struct {
		process vocab.Process
		code    int
		reason  string
	}{
		{vocab.Process{Args: []string{"no-such-program"}}, 127, `exec: "no-such-program": executable file not found in $PATH`},
		{vocab.Process{Args: []string{"/etc/plain"}}, 126, `exec: "/etc/plain": permission denied`},
		{vocab.Process{Args: []string{"true"}, User: "nobody-knows"}, 126, `user "nobody-knows": unable to find user nobody-knows: no matching entries in passwd file`},
		{vocab.Process{Args: []string{"true"}, Dir: "/nowhere"}, 126, "working directory: stat /nowhere: no such file or directory"},
	} {
		s := spec("")
		s.Ephemeral, s.Process, s.TokenUser = true, c.process, "root"
		v.boot(s)
		if exited := v.finish(c.code); exited.Reason != c.reason {
			t.Errorf("%+v: reason %q, want %q", c.process, exited.Reason, c.reason)
		}
	}
}

// TestGuestStop stops a workload that ends on SIGTERM, and one that ignores it.
func TestGuestStop(t *testing.T) {
	v := prepare(t)
	s := spec(`trap 'echo ending; exit 3' TERM; echo ready; while :; do sleep 0.1; done`)
	s.Ephemeral = true
	v.boot(s)
	v.expect("Started")
	v.awaitOutput(0, "ready")
	must(t, v.control.Send(0, guest.Message{Stop: &guest.Stop{GraceNano: int64(time.Minute)}}))
	v.finish(3)

	s.Process.Args = []string{"sh", "-c", `trap '' TERM; echo ready; while :; do sleep 0.1; done`}
	v.boot(s)
	v.expect("Started")
	v.awaitOutput(0, "ready")
	must(t, v.control.Send(0, guest.Message{Signal: &guest.Signal{Number: int(unix.SIGTERM)}}))
	must(t, v.control.Send(0, guest.Message{Stop: &guest.Stop{GraceNano: int64(time.Second)}}))
	v.finish(128 + int(unix.SIGKILL))
}

// TestGuestExec runs commands beside the workload.
func TestGuestExec(t *testing.T) {
	v := prepare(t)
	s := spec(`echo ready; cat; echo bye; exit 0`)
	s.Stdin = true
	s.Process.User = "jo"
	s.Process.Env = []string{"FROM=workload", "BOTH=workload"}
	v.boot(s)
	v.expect("Started")
	v.awaitOutput(0, "ready")

	v.exec(guest.Exec{Process: vocab.Process{
		Args: []string{"sh", "-c", `id -un; echo $FROM $BOTH; pwd; echo err >&2; exit 9`}, Env: []string{"BOTH=exec"}, Dir: "/tmp",
	}})
	v.expectExit(1, 9)
	if got, want := v.out(1, stream.Stdout), "jo\nworkload exec\n/tmp\n"; got != want || v.out(1, stream.Stderr) != "err\n" {
		t.Errorf("exec says %q, want %q", got, want)
	}

	v.exec(guest.Exec{Process: vocab.Process{Args: []string{"no-such-program"}}})
	v.expectExit(2, 127)
	if got := v.out(2, stream.Stderr); !strings.Contains(got, "not found in $PATH") {
		t.Errorf("exec's reason is %q", got)
	}

	// The input is sent before the process can run, and the output is more than a pipe
	// holds.
	x := v.exec(guest.Exec{Process: vocab.Process{Args: []string{"sh", "-c", "wc -c; seq 100000"}}, Stdin: true})
	v.send(x, bytes.Repeat([]byte("x"), 100_000))
	x.CloseInput()
	v.expectExit(3, 0)
	if got := v.out(3, stream.Stdout); !strings.HasPrefix(got, "100000\n1\n") || !strings.HasSuffix(got, "\n100000\n") || len(got) != 7+588_895 {
		t.Errorf("exec gives %d bytes of output", len(got))
	}

	// Input that is not read delays nothing else, and a signal overtakes it.
	unread := func(x *stream.Session) {
		t.Helper()
		full, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if err := x.Send(full, stream.Stdin, make([]byte, 1<<20)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("what nobody reads is taken: %v", err)
		}
	}
	x = v.exec(guest.Exec{Process: vocab.Process{Args: []string{"sleep", "1000"}}, Stdin: true})
	unread(x)
	v.exec(guest.Exec{Process: vocab.Process{Args: []string{"true"}}})
	v.expectExit(5, 0)
	x.Signal(int(unix.SIGTERM))
	v.expectExit(4, 128+int(unix.SIGTERM))

	// A process left in the background does not keep an exec alive.
	v.exec(guest.Exec{Process: vocab.Process{Args: []string{"sh", "-c", "sleep 1000 & echo done"}}})
	v.expectExit(6, 0)
	if got := v.out(6, stream.Stdout); got != "done\n" {
		t.Errorf("exec with a background process says %q", got)
	}

	// An exec that the host aborts is killed.
	x = v.exec(guest.Exec{Process: vocab.Process{Args: []string{"sh", "-c", "echo $$; exec sleep 77777"}}, Stdin: true})
	v.awaitOutput(7, "\n")
	unread(x)
	x.Abort("enough")
	v.exec(guest.Exec{Process: vocab.Process{Args: []string{"sh", "-c", "while kill -0 $1 2>/dev/null; do sleep 0.1; done", "sh", strings.TrimSpace(v.out(7, stream.Stdout))}}})
	v.expectExit(8, 0)

	// The argument list is longer than a frame.
	long := strings.Repeat("y", 100_000)
	v.exec(guest.Exec{Process: vocab.Process{Args: []string{"sh", "-c", "echo ${#1}", "sh", long}}})
	v.expectExit(9, 0)
	if got := v.out(9, stream.Stdout); got != "100000\n" {
		t.Errorf("a long argument arrived as %q", got)
	}

	v.send(v.workload, []byte("to the workload\n"))
	v.awaitOutput(0, "to the workload")
	v.workload.CloseInput()
	v.finish(0)
	if got := v.out(0, stream.Stdout); got != "ready\nto the workload\nbye\n" {
		t.Errorf("the workload says %q", got)
	}
}

// TestGuestTerminal runs the workload and an exec on terminals.
func TestGuestTerminal(t *testing.T) {
	v := prepare(t)
	s := spec(`trap 'stty size; got=1' WINCH; tty; stty size; echo $TERM; while [ -z "$got" ]; do sleep 0.1; done; cat; echo end`)
	s.Process.Terminal, s.Process.Size, s.Stdin = true, vocab.Size{Rows: 30, Cols: 101}, true
	s.Process.User = "jo"
	v.boot(s)
	v.expect("Started")
	v.awaitOutput(0, "/dev/pts/0\r\n30 101\r\nxterm\r\n")
	v.workload.Resize(vocab.Size{Rows: 40, Cols: 77})
	v.awaitOutput(0, "40 77\r\n")
	v.send(v.workload, []byte("typed\n"))
	v.awaitOutput(0, "typed\r\ntyped\r\n")

	x := v.exec(guest.Exec{Process: vocab.Process{Args: []string{"sh", "-c", "tty; stty size; sleep 1000"}, Terminal: true, Size: vocab.Size{Rows: 5, Cols: 6}}, Stdin: true})
	v.awaitOutput(1, "/dev/pts/1\r\n5 6\r\n")
	v.send(x, []byte{3}) // Ctrl-C
	v.expectExit(1, 128+int(unix.SIGINT))

	v.workload.CloseInput()
	v.finish(0)
	if got := v.out(0, stream.Stdout); !strings.HasSuffix(got, "end\r\n") {
		t.Errorf("the terminal ends with %q", got)
	}
}

// TestGuestSeesGenerations publishes on the host and waits until the guest
// reports each generation. It also sets the guest's clock.
func TestGuestSeesGenerations(t *testing.T) {
	v := prepare(t)
	s := spec(`read x; date +%Y; cat /etc/openshell/auth/sandbox.jwt`)
	s.Stdin, s.Ephemeral = true, true
	v.boot(s)
	seen := uint64(0)
	await := func(n int) {
		t.Helper()
		for deadline := time.After(bootDeadline); seen < uint64(n); {
			select {
			case m := <-v.messages:
				if m.Seen != nil {
					seen = m.Seen.Generation
				}
			case <-deadline:
				t.Fatalf("generation %d was not seen, the newest was %d", n, seen)
			}
		}
	}
	await(1)
	for n := 2; n <= 6; n++ {
		publish(t, v.auth, n)
		await(n)
	}
	clock := time.Date(2031, 5, 6, 0, 0, 0, 0, time.UTC)
	must(t, v.control.Send(0, guest.Message{SetClock: &guest.SetClock{UnixNano: clock.UnixNano()}}))
	// There is no order between the two ports. On the same port there is: once the exec
	// has ended, the clock is set.
	v.exec(guest.Exec{Process: vocab.Process{Args: []string{"true"}}})
	v.expectExit(1, 0)
	v.send(v.workload, []byte("go\n"))
	v.finish(0)
	if got, want := v.out(0, stream.Stdout), "2031\ntoken 6\n"; got != want {
		t.Errorf("the sandbox says %q, want %q", got, want)
	}
}

// TestGuestFailsBoot boots with a spec that can't work. The host has to get the reason.
func TestGuestFailsBoot(t *testing.T) {
	v := prepare(t)
	s := spec("true")
	s.Mounts = []guest.GuestMount{{Name: "missing", Target: "/srv"}}
	v.boot(s)
	m := v.expect("Failed")
	if m.Failed == nil || m.Failed.Reason != "take missing from the shares: no such file or directory" {
		t.Errorf("the boot fails with %s", show(m))
	}
	select {
	case err := <-v.ended:
		must(t, err)
	case <-time.After(bootDeadline):
		t.Error("the VM does not power off")
	}

	must(t, os.WriteFile(v.path("upper.ext4"), make([]byte, 1<<20), 0o600))
	v.boot(spec("true"))
	if m := v.expect("Failed"); m.Failed == nil || !strings.HasPrefix(m.Failed.Reason, "mount the root's upper layer") || m.Failed.Hint == "" {
		t.Errorf("a damaged disk gives %s", show(m))
	}
}
