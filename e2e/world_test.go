//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"openshell-vm/drivers/driverstest/testhost"
	"openshell-vm/gateway/api"
	"openshell-vm/internal/procfs"
)

// programs is where the built programs lie: ./bin of the checkout, or E2E_BIN.
func programs(t testing.TB) string {
	dir := os.Getenv("E2E_BIN")
	if dir == "" {
		dir = "../bin"
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "openshell-vm")); err != nil {
		t.Fatalf("%v (make e2e builds it)", err)
	}
	return dir
}

// patience bounds one wait for something to happen. It is generous: nothing here
// promises speed, guests are emulated, and other tests keep the machine busy.
const patience = 3 * time.Minute

// ordinaryUser is a uid that no passwd file knows.
const ordinaryUser = 15000

// world is one user's home with programs, state and a gateway of its own.
type world struct {
	testing.TB
	uid  int
	home string // also HOME
	bin  string
	env  []string

	netns   string   // the file of the network namespace that its programs run in; "" for this one
	unmount []string // at the end, before home is removed
}

// eachUser runs body in a fresh world as the caller. If that is root, it runs body also as an
// ordinary user: with a fresh uid, no XDG_RUNTIME_DIR, no subuid, no group.
func eachUser(t *testing.T, body func(t *testing.T, w *world)) {
	t.Parallel()
	for name, uid := range users() {
		t.Run(name, func(t *testing.T) { body(t, newWorld(t, uid)) })
	}
}

// usersAtOnce is eachUser for a body that mostly waits, for a token to expire or a guest to boot.
// Such tests run beside others.
func usersAtOnce(t *testing.T, body func(t *testing.T, w *world)) {
	t.Parallel()
	for name, uid := range users() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body(t, newWorld(t, uid))
		})
	}
}

// asUser runs body beside other tests as an ordinary user, or as the caller if that is not root. It is for what the
// gateway does for whoever it serves; TestResumedByTheGateway and others have root's VMs.
func asUser(t *testing.T, body func(t *testing.T, w *world)) {
	t.Parallel()
	body(t, newWorld(t, users()["user"]))
}

func users() map[string]int {
	if os.Getuid() != 0 {
		return map[string]int{"user": os.Getuid()}
	}
	return map[string]int{"root": 0, "user": ordinaryUser}
}

// newWorld makes a home under /var/tmp and registers its end. Shares must not lie in /tmp, which a
// private /tmp could hide.
func newWorld(t testing.TB, uid int) *world {
	t.Helper()
	home, err := os.MkdirTemp("/var/tmp", "oe")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{TB: t, uid: uid, home: home, bin: filepath.Join(home, "bin")}
	if err := os.CopyFS(w.bin, os.DirFS(programs(t))); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{home, w.bin} {
		if err := errors.Join(os.Chmod(dir, 0o755), os.Chown(dir, uid, uid)); err != nil {
			t.Fatal(err)
		}
	}
	w.env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "TERM=xterm", "LANG=C.UTF-8",
		"OPENSHELL_STATE_DIR=" + filepath.Join(home, "state"), "OPENSHELL_RUNTIME_DIR=" + filepath.Join(home, "run"), "OPENSHELL_BOOT_DEADLINE=" + patience.String()}
	t.Cleanup(w.end)
	return w
}

// as returns the same world for a subtest, which gets its failures.
func (w *world) as(t *testing.T) *world {
	sub := *w
	sub.TB = t
	return &sub
}

// stateDir returns the gateway's state directory.
func (w *world) stateDir() string { return filepath.Join(w.home, "state") }

// faulty replaces the usual gateway by the one with fault points.
func (w *world) faulty() {
	w.must(os.Rename(filepath.Join(w.bin, "faults", "openshell-gateway"), filepath.Join(w.bin, "openshell-gateway")))
	w.env = append(w.env, "OPENSHELL_FAULT_FILE="+w.faultFile())
}

func (w *world) faultFile() string { return filepath.Join(w.home, "fault") }

// failAt makes the gateway kill itself, once, when it next passes the point.
func (w *world) failAt(point string) {
	w.must(os.WriteFile(w.faultFile(), []byte(point), 0o644))
	w.must(os.Chown(w.home, w.uid, w.uid))
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// command returns a command that runs one of the world's programs as the world's user.
func (w *world) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	args = append([]string{filepath.Join(w.bin, program)}, args...)
	if w.netns != "" {
		args = append([]string{"nsenter", "--net=" + w.netns, "--"}, args...)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env, cmd.Dir = w.env, w.home
	cmd.WaitDelay = 5 * time.Second
	if w.uid != os.Getuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(w.uid), Gid: uint32(w.uid)}}
	}
	return cmd
}

// result is how a CLI call ended.
type result struct {
	stdout, stderr string
	code           int
	took           time.Duration
}

// try runs the CLI, and reports how it ended.
func (w *world) try(args ...string) result {
	w.Helper()
	return w.tryWith("", args...)
}

func (w *world) tryWith(stdin string, args ...string) result {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience)
	defer cancel()
	cmd := w.command(ctx, "openshell-vm", args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	began := time.Now()
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		w.Fatalf("openshell-vm %s: %v", strings.Join(args, " "), err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode(), time.Since(began)}
}

// run is try for a call that must end with 0. It returns what the call printed.
func (w *world) run(args ...string) string {
	w.Helper()
	r := w.try(args...)
	if r.code != 0 {
		w.Fatalf("openshell-vm %s: exit code %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// json runs the CLI with -o json and decodes what it prints.
func (w *world) json(into any, args ...string) {
	w.Helper()
	out := w.run(append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		w.Fatalf("openshell-vm %s: %v in %q", strings.Join(args, " "), err, out)
	}
}

// sandbox is one sandbox as inspect shows it.
func (w *world) sandbox(name string) api.Sandbox {
	w.Helper()
	var s []api.Sandbox
	w.json(&s, "inspect", name)
	if len(s) != 1 {
		w.Fatalf("inspect %s gave %d sandboxes", name, len(s))
	}
	return s[0]
}

// start starts a detached sandbox that runs until it is stopped.
func (w *world) start(name, ttl string, flags ...string) api.Sandbox {
	w.Helper()
	if !slices.Contains(flags, "--driver") { // an emulated guest with two CPUs boots for a fifth longer
		flags = append([]string{"--cpus", "1"}, flags...)
	}
	args := append([]string{"run", "-d", "--name", name, "--ttl", ttl, "--mount", w.readerDir() + ":/witness"}, flags...)
	w.run(append(args, "--", "sleep", "1000000")...)
	return w.sandbox(name)
}

// readerDir makes a directory with only the witness, so that a sandbox sees nothing else.
func (w *world) readerDir() string { return filepath.Join(w.bin, "witness") }

// gatewayPID returns the running gateway's process id; 0 if none runs.
func (w *world) gatewayPID() int {
	var s api.Status
	r := w.try("gateway", "status", "-o", "json")
	if r.code != 0 || json.Unmarshal([]byte(r.stdout), &s) != nil {
		return 0
	}
	return s.PID
}

// eventually waits for a condition, with a deadline.
func (w *world) eventually(what string, within time.Duration, ok func() bool) {
	w.Helper()
	if !testhost.Await(within, ok) {
		w.Fatalf("not within %v: %s", within, what)
	}
}

// end removes every sandbox and stops the gateway. It fails the test if a process or a mount of this
// world is left.
func (w *world) end() {
	if w.Failed() {
		w.dump()
	}
	if w.gatewayPID() != 0 {
		var all []api.Sandbox
		w.json(&all, "ps", "-a")
		for _, s := range all {
			w.run("rm", "-f", s.Name)
		}
		w.run("gateway", "stop")
	}
	for end := time.Now().Add(patience); len(w.processes()) > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			for pid, cmdline := range w.processes() {
				w.Errorf("left running: %d %s", pid, cmdline)
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			break
		}
	}
	for _, dir := range w.unmount {
		w.must(syscall.Unmount(dir, 0))
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || bytes.Contains(mounts, []byte(w.home)) {
		w.Errorf("a mount of %s is left, or mountinfo unreadable: %v", w.home, err)
		return
	}
	w.must(os.RemoveAll(w.home))
}

// processes returns the processes that this world started. It finds them by the world's home in
// their program's path or arguments.
func (w *world) processes() map[int]string {
	found := map[int]string{}
	for _, pid := range procfs.PIDs() {
		cmdline, _ := os.ReadFile(procfs.Path(pid, "cmdline"))
		exe, _ := os.Readlink(procfs.Path(pid, "exe"))
		environ, _ := os.ReadFile(procfs.Path(pid, "environ"))
		if bytes.Contains(cmdline, []byte(w.home)) || strings.HasPrefix(exe, w.home) || bytes.Contains(environ, []byte("HOME="+w.home+"\x00")) {
			if procfs.Runs(pid) {
				found[pid] = strings.ReplaceAll(string(cmdline), "\x00", " ")
			}
		}
	}
	return found
}

// dump logs what helps to understand a failure.
func (w *world) dump() {
	w.Log(w.try("ps", "-a").stdout)
	_ = filepath.WalkDir(w.stateDir(), func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".log") {
			data, _ := os.ReadFile(path)
			w.Logf("== %s\n%s", path, data[max(0, len(data)-4096):])
		}
		return nil
	})
}
