package driverstest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"openshell-vm/drivers"
)

// source is a fresh directory of the user's, with a file and a subdirectory.
func (s *suite) source(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Join(s.Dir, "sources"), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(dir, 0o777), os.WriteFile(filepath.Join(dir, "file"), []byte("content"), 0o666),
		os.Mkdir(filepath.Join(dir, "sub"), 0o777)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func remove(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// mounted mounts a tmpfs, where the suite may, until the test's end.
func (s *suite) mounted(t *testing.T, dir string) bool {
	t.Helper()
	if !s.Mountable {
		return false
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=0777"); err != nil {
		t.Fatalf("mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return true
}

// snapshot describes a tree so that any change shows.
func snapshot(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		line := fmt.Sprintf("%s %v %d %d:%d", path, info.Mode(), info.ModTime().UnixNano(), st.Uid, st.Gid)
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %q", data)
		}
		all = append(all, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// readOnly: nothing that root inside does changes the share, the user's
// directories or a file system that is mounted below one.
func readOnly(t *testing.T, s *suite) string {
	source := s.source(t)
	note := "submounts not tried: they can't be mounted here"
	if s.mounted(t, filepath.Join(source, "sub")) {
		note = "with a submount"
	}
	b := s.box(t, func(b *box) {
		b.mount(source, "/data")
		b.runs("tamper", drivers.AuthDir, "/data", "/data/sub")
	})
	before := append(snapshot(t, b.share.AuthDir()), snapshot(t, source)...)
	out, code := b.run(false).rest()
	if code != 0 {
		t.Fatalf("the witness ended with %d: %q", code, out)
	}
	attempts := map[string]int{}
	for _, line := range out {
		_, result, _ := strings.Cut(line, ": ")
		attempts[result]++
		if result == "DONE" && !strings.HasPrefix(line, "remount") {
			t.Errorf("%s", line)
		}
	}
	if len(out) < 60 {
		t.Errorf("only %d attempts: %q", len(out), out)
	}
	if after := append(snapshot(t, b.share.AuthDir()), snapshot(t, source)...); !slices.Equal(before, after) {
		t.Errorf("the host's tree changed:\n%q\n%q", before, after)
	}
	t.Logf("%d attempts: %v", len(out), attempts)
	return fmt.Sprintf("%d attempts, %s", len(out), note)
}

// visible: a polling reader inside sees every publish, and what is read later than
// the driver's bound after one is what was published. The figures have the way
// of the reader's report back to the host in them.
func visible(t *testing.T, s *suite) string {
	const publishes = 50
	b := s.box(t, func(b *box) { b.runs("watch", drivers.AuthDir) })
	client := b.run(false)
	client.expect("1 ok")
	var took []time.Duration
	for range publishes {
		n, _ := b.publish()
		begin := time.Now()
		if line := client.line(); line != fmt.Sprintf("%d ok", n) {
			t.Fatalf("generation %d was published, %q was seen", n, line)
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	promised := b.promised(3, func() uint64 { n, _ := b.publish(); return n })
	return fmt.Sprintf("p50 %.1f ms, max %.1f ms of %d; promised %v", ms(took[publishes/2]), ms(took[publishes-1]), publishes, promised)
}

// promised holds the driver to its staleness bound, which it returns: a reader
// inside that has just read what is there reads, that long after a publish, what
// is new. A busy machine makes the answer late, and never wrong.
func (b *box) promised(times int, publish func() uint64) time.Duration {
	b.t.Helper()
	_, staleness, err := b.driver.Resolve(b.t.Context(), b.spec)
	if err != nil {
		b.t.Fatal(err)
	}
	reader := b.exec(drivers.Process{Args: []string{b.tool, "answer", drivers.AuthDir}}, true)
	ask := func() string {
		if _, err := io.WriteString(reader.stdin, "\n"); err != nil {
			b.t.Fatal(err)
		}
		return reader.line()
	}
	for range times {
		before := ask()
		n := publish()
		time.Sleep(staleness) // it is the promise
		if now := ask(); now != fmt.Sprintf("%d ok", n) {
			b.t.Errorf("%v after generation %d was published, %q was read; %q before it", staleness, n, now, before)
		}
	}
	reader.stdin.Close()
	reader.rest()
	return staleness
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// racing: a reader that never pauses never sees a torn, missing or older one.
func racing(t *testing.T, s *suite) string {
	const publishes = 1000
	b := s.box(t, func(b *box) {
		b.runs("race", drivers.AuthDir)
		b.spec.Stdin = true
	})
	client := b.run(true)
	client.expect("ready")
	var last uint64
	begin := time.Now()
	for range publishes {
		last, _ = b.publish()
		time.Sleep(5 * time.Millisecond) // leave an emulated reader some of the processor
	}
	took := time.Since(begin)
	_, staleness, err := b.driver.Resolve(t.Context(), b.spec)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(staleness) // the last one may be seen that late
	client.stdin.Close()
	out, _ := client.rest()
	var reads, bad int
	var seen uint64
	if len(out) == 0 {
		t.Fatal("no report")
	}
	if _, err := fmt.Sscanf(out[len(out)-1], "reads=%d bad=%d last=%d", &reads, &bad, &seen); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	if bad != 0 || seen != last || reads < publishes/20 {
		t.Errorf("%d reads, %d bad, generation %d of %d seen; %q", reads, bad, seen, last, out)
	}
	return fmt.Sprintf("%d reads in %.1f s, %d bad", reads, took.Seconds(), bad)
}

// resumed: what was published while the sandbox was down is there at once, and
// what it wrote before is still there.
func resumed(t *testing.T, s *suite) string {
	b := s.box(t, func(b *box) {
		// Not everybody is root in the sandbox, and /tmp may be in memory.
		b.shell("m=/var/marker; [ -w /var ] || m=/tmp/marker; [ -e $m ] && echo marked; touch $m; sync; cut -d. -f1 " + drivers.TokenFile + "; exec " + b.tool + " hold")
	})
	first := b.run(false)
	first.expect("1")
	first.expect("ready")
	b.stop(10 * time.Second)
	_, expired := b.publish()
	n, _ := b.publish()
	begin := time.Now()
	second := b.run(false)
	second.expect("marked")
	if got := second.line(); got != strconv.FormatUint(n, 10) {
		t.Errorf("generation %s after the resume, %d was published (and %d bytes before it)", got, n, len(expired))
	}
	return fmt.Sprintf("first read %.0f ms after the start", ms(time.Since(begin)))
}

// idempotent: each again, in each state.
func idempotent(t *testing.T, s *suite) string {
	b := s.box(t, nil)
	b.stop(time.Second) // never started
	if err := b.driver.Create(t.Context(), b.spec); !errors.Is(err, drivers.ErrExists) {
		t.Errorf("created twice: %v", err)
	}
	for range 3 {
		b.start()
		b.start()
		if got := b.inspect().State; got != drivers.Running {
			t.Fatalf("%s after a start", got)
		}
		b.stop(10 * time.Second)
		b.stop(10 * time.Second)
		if got := b.inspect().State; got == drivers.Running || got == drivers.Created {
			t.Fatalf("%s after a stop", got)
		}
	}
	b.start()
	for range 2 { // the first while it runs
		if err := b.driver.Remove(t.Context(), b.id); err != nil {
			t.Fatalf("remove: %v", err)
		}
		if _, err := b.driver.Inspect(t.Context(), b.id); !errors.Is(err, drivers.ErrNotFound) {
			t.Fatalf("inspect after a remove: %v", err)
		}
	}
	if !exists(b.share.AuthDir()) {
		t.Error("the share went with the sandbox")
	}
	return ""
}

// engineRestarted: a crash of the engine costs no more than the sandbox's run.
func engineRestarted(t *testing.T, s *suite) string {
	if s.RestartEngine == nil {
		return notApplicable + "there is no engine beside the sandbox's own processes"
	}
	b := s.box(t, func(b *box) { b.runs("watch", drivers.AuthDir) })
	b.run(false).expect("1 ok")
	s.RestartEngine(t)
	state := b.inspect().State
	n, _ := b.publish()
	if state == drivers.Running {
		client := b.attach(true, false)
		client.expect(fmt.Sprintf("%d ok", n))
	}
	b.start()
	n, _ = b.publish()
	client := b.attach(true, false)
	client.expect(fmt.Sprintf("%d ok", n))
	return fmt.Sprintf("%s after the crash", state)
}

// removedBehind: it is reported as gone, and can be made again.
func removedBehind(t *testing.T, s *suite) string {
	if s.RemoveBehind == nil {
		return notApplicable + "nothing but the driver can remove it"
	}
	b := s.box(t, nil)
	b.start()
	s.RemoveBehind(t, b.id)
	if _, err := b.driver.Inspect(t.Context(), b.id); !errors.Is(err, drivers.ErrNotFound) {
		t.Errorf("inspect: %v", err)
	}
	if err := b.driver.Start(t.Context(), b.id); !errors.Is(err, drivers.ErrNotFound) {
		t.Errorf("start: %v", err)
	}
	if list, err := b.driver.List(t.Context()); err != nil || find(list, b.id) != nil {
		t.Errorf("it is still listed: %v", err)
	}
	if err := b.driver.Create(t.Context(), b.spec); err != nil {
		t.Fatalf("made again: %v", err)
	}
	b.run(false).expect("ready")
	return ""
}

func find(list []drivers.Status, id string) *drivers.Status {
	for i := range list {
		if list[i].ID == id {
			return &list[i]
		}
	}
	return nil
}

// recordsLost: a new gateway's driver lists them, with what is needed to make
// a record again; another gateway's does not see them.
func recordsLost(t *testing.T, s *suite) string {
	running, created := s.box(t, nil), s.box(t, nil)
	running.run(false).expect("ready")
	fresh := s.New(s.gateway)
	list, err := fresh.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for b, state := range map[*box]drivers.State{running: drivers.Running, created: drivers.Created} {
		found := find(list, b.id)
		if found == nil {
			t.Fatalf("%s is not listed", b.id)
		}
		if found.State != state || found.Name != b.spec.Name {
			t.Errorf("%s: %s %q, wanted %s %q", b.id, found.State, found.Name, state, b.spec.Name)
		}
		if found.Spec == nil || found.Spec.Auth != b.spec.Auth || !slices.Equal(found.Spec.Mounts, b.spec.Mounts) ||
			!slices.Equal(found.Spec.Process.Args, b.spec.Process.Args) {
			t.Errorf("%s: the spec came back as %+v", b.id, found.Spec)
		}
	}
	if err := fresh.Stop(t.Context(), running.id, 10*time.Second); err != nil {
		t.Errorf("stop by the new gateway: %v", err)
	}
	if s.RestartEngine != nil { // an engine is shared between gateways, a state directory is not
		other := s.New(newID())
		if list, err := other.List(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("another gateway lists %d sandboxes, error %v", len(list), err)
		}
		if _, err := other.Inspect(t.Context(), running.id); !errors.Is(err, drivers.ErrNotFound) {
			t.Errorf("another gateway inspects it: %v", err)
		}
	}
	return ""
}

// impostors: labels, on a container or on its image, make nobody's container a
// sandbox; nor does its name, once the sandbox itself was known.
func impostors(t *testing.T, s *suite) string {
	if s.Impostor == nil {
		return notApplicable + "no engine of others runs its sandboxes"
	}
	b, removed := s.box(t, nil), s.box(t, nil)
	b.run(false).expect("ready")
	status := b.inspect()
	if status.Object == "" {
		t.Error("the engine's own id is not told")
	}
	forged := func(b *box) map[string]string {
		spec, err := json.Marshal(b.spec)
		if err != nil {
			t.Fatal(err)
		}
		return map[string]string{drivers.LabelGatewayID: s.gateway, drivers.LabelSandboxID: b.id,
			drivers.LabelName: b.spec.Name, drivers.LabelSpec: string(spec)}
	}
	stranger := *b
	stranger.id = newID()
	stranger.spec.ID = stranger.id
	s.Impostor(t, "", forged(b), true)
	s.Impostor(t, "", forged(b), false)
	s.Impostor(t, "openshell-"+stranger.id, forged(&stranger), true)
	s.RemoveBehind(t, removed.id)
	s.Impostor(t, "openshell-"+removed.id, forged(removed), false)
	for who, d := range map[string]drivers.Driver{"this gateway": s.driver, "one without records": s.New(s.gateway)} {
		list, err := d.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, l := range list {
			switch l.ID {
			case b.id:
				seen++
				if l.Object != status.Object || l.State != drivers.Running {
					t.Errorf("%s lists %s as %s %s, it is %s", who, l.ID, l.State, l.Object, status.Object)
				}
			case removed.id, stranger.id:
				t.Errorf("%s takes an impostor for %s, %s", who, l.ID, l.State)
			}
		}
		if seen != 1 {
			t.Errorf("%s lists %d containers for one sandbox", who, seen)
		}
		for _, id := range []string{removed.id, stranger.id} {
			if err := d.Stop(t.Context(), id, 0); !errors.Is(err, drivers.ErrNotFound) {
				t.Errorf("%s stops an impostor: %v", who, err)
			}
			if err := d.Remove(t.Context(), id); err != nil {
				t.Errorf("%s: remove of what is not there: %v", who, err)
			}
		}
	}
	err := s.driver.Create(t.Context(), removed.spec)
	if err == nil || errors.Is(err, drivers.ErrExists) || !strings.Contains(err.Error(), "openshell-vm did not make") || drivers.HintOf(err) == "" {
		t.Errorf("with an impostor in the way: %v, hint %q", err, drivers.HintOf(err))
	}
	if got := b.inspect(); got.State != drivers.Running || got.Object != status.Object {
		t.Errorf("the sandbox is %s", got.State)
	}
	return "by the image's labels, its own, with the name of one that is lost"
}

// apart: what one sandbox can find anywhere is not the other's.
func apart(t *testing.T, s *suite) string {
	one, two := s.box(t, nil), s.box(t, nil)
	_, secret := one.publish()
	_, other := two.publish()
	one.run(false).expect("ready")
	two.run(false).expect("ready")
	for b, foreign := range map[*box][]byte{one: other, two: secret} {
		// Every readable file but the kernel's, by content.
		out, _ := b.exec(drivers.Process{Args: []string{"sh", "-c",
			"for d in /*; do case $d in /proc|/sys|/dev) ;; *) find $d -xdev -type f -size -64k -exec grep -l -F '" + string(foreign[:200]) + "' {} + ;; esac; done; cat " +
				drivers.TokenFile + "; grep -c . /proc/self/mountinfo"}}, false).rest()
		for _, line := range out[:max(0, len(out)-2)] {
			if strings.HasPrefix(line, "/") {
				t.Errorf("%s has the other's: %s", b.id, line)
			}
		}
		if strings.Contains(strings.Join(out, "\n"), string(foreign)) {
			t.Errorf("%s reads the other's token", b.id)
		}
		mounts, _ := b.exec(drivers.Process{Args: []string{"cat", "/proc/self/mountinfo"}}, false).rest()
		for _, line := range mounts {
			peer := one
			if b == one {
				peer = two
			}
			if strings.Contains(line, peer.id) {
				t.Errorf("%s has a mount of the other's: %s", b.id, line)
			}
		}
	}
	return ""
}

// hiddenDirs: the state directory lies in what is mounted, directly and through
// a bind mount, and nothing of it shows.
func hiddenDirs(t *testing.T, s *suite) string {
	secret := filepath.Join(s.state, "keys", "secret-key")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	note := "directly"
	alias := filepath.Join(s.source(t), "sub")
	if s.Mountable {
		if err := syscall.Mount(s.state, alias, "", syscall.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(alias, syscall.MNT_DETACH) })
		note = "directly and through a bind mount"
	}
	b := s.box(t, func(b *box) {
		b.mount(s.Dir, "/all")
		b.runs("ls", "/all", drivers.AuthDir)
	})
	out, code := b.run(false).rest()
	if code != 0 || !slices.Contains(out, "/all/sources") {
		t.Fatalf("the mount does not show: code %d, %q", code, out)
	}
	for _, line := range out {
		if strings.Contains(line, "secret-key") || strings.HasPrefix(line, "/all/state/") {
			t.Errorf("inside: %s", line)
		}
	}
	return note
}

// kernelAndControls: a procfs leads to every directory of the host, and a control
// socket rules it, however read-only the mount is in which they are.
func kernelAndControls(t *testing.T, s *suite) string {
	refused := []string{"/proc", "/proc/self/root", "/run"}
	for _, source := range refused {
		b := s.prepare(t, func(b *box) { b.mount(source, "/data") })
		_, _, err := b.driver.Resolve(t.Context(), b.spec)
		plain(t, source, err)
	}
	source := s.source(t)
	socket := filepath.Join(source, "engine", "e.sock")
	if err := os.Mkdir(filepath.Dir(socket), 0o755); err != nil {
		t.Fatal(err)
	}
	listen(t, socket)
	t.Setenv("CONTAINER_HOST", "unix://"+socket)
	if s.driver.Name() == "podman" {
		t.Setenv("DOCKER_HOST", "unix://"+socket)
	}
	note := "a socket"
	if s.Mountable {
		sub := filepath.Join(source, "sub")
		if err := syscall.Mount("proc", sub, "proc", 0, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(sub, syscall.MNT_DETACH) })
		note += ", and a procfs as a submount"
	}
	b := s.box(t, func(b *box) {
		b.mount(source, "/data")
		b.runs("ls", "/data")
	})
	out, code := b.run(false).rest()
	if want := []string{"/data", "/data/engine", "/data/file", "/data/sub"}; code != 0 || !slices.Equal(out, want) {
		t.Errorf("inside: %q, wanted %q", out, want)
	}
	// What comes later is found at the next start.
	late := s.source(t)
	b = s.box(t, func(b *box) { b.mount(late, "/data") })
	listen(t, filepath.Join(late, "sub", "e.sock"))
	t.Setenv("CONTAINER_HOST", "unix://"+filepath.Join(late, "sub", "e.sock"))
	if s.driver.Name() == "podman" {
		t.Setenv("DOCKER_HOST", os.Getenv("CONTAINER_HOST"))
	}
	if err := b.driver.Start(t.Context(), b.id); err == nil {
		out, _ := b.exec(drivers.Process{Args: []string{b.tool, "ls", "/data/sub"}}, false).rest()
		if !slices.Equal(out, []string{"/data/sub"}) {
			t.Errorf("a socket that came later shows: %q", out)
		}
	} else {
		plain(t, "a socket that came later", err)
	}
	return note
}

// listen makes a socket in a directory whose path may be too long for one.
func listen(t *testing.T, path string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	link := filepath.Join(dir, "d")
	if err := os.Symlink(filepath.Dir(path), link); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(link, filepath.Base(path)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
}

// foreign: a share in a place where the engine has nothing, and one where it
// has another directory of the same name.
func foreign(t *testing.T, s *suite) string {
	if !s.Blind || !s.Mountable {
		return notApplicable + "it sees the mounts that the suite sees"
	}
	for name, same := range map[string]bool{"nothing there": false, "another directory there": true} {
		dir, err := os.MkdirTemp("/var/tmp", "suite-foreign-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		auth := filepath.Join(dir, "auth")
		if same {
			if err := os.Mkdir(auth, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		s.mounted(t, dir)
		b := s.prepare(t, func(b *box) {
			if err := os.Mkdir(auth, 0o755); err != nil {
				t.Fatal(err)
			}
			b.spec.Auth = mount(t, auth, drivers.AuthDir)
		})
		err = b.driver.Create(t.Context(), b.spec)
		if err == nil {
			err = b.driver.Start(t.Context(), b.id)
		}
		if err == nil || !strings.Contains(err.Error(), "sees other mounts") || drivers.HintOf(err) == "" {
			t.Errorf("%s: %v, hint %q", name, err, drivers.HintOf(err))
		}
		t.Logf("%s: %v\n\thint: %s", name, err, drivers.HintOf(err))
		if status, err := b.driver.Inspect(t.Context(), b.id); err == nil && status.State == drivers.Running {
			t.Errorf("%s: it runs all the same", name)
		}
	}
	return "nothing there, another directory there"
}

// noLeak: neither form of a signature is found but in the share; a planted one
// is, so the search works.
func noLeak(t *testing.T, s *suite) string {
	b := s.box(t, nil)
	b.run(false).expect("ready")
	var needles []string
	for range 3 {
		_, token := b.publish()
		needles = append(needles, formsOf(t, token)...)
	}
	planted := exec.Command("sleep", "60")
	planted.Env = []string{"TOKEN=" + needles[1]}
	if err := planted.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = planted.Process.Kill(); _ = planted.Wait() }()
	want := "/proc/" + strconv.Itoa(planted.Process.Pid) + "/environ"
	// Start returns a little before the process has its own environment.
	s.eventually(t, func() error {
		if data, err := os.ReadFile(want); err != nil || !containsAny(string(data), needles) {
			return fmt.Errorf("nothing is planted in %s: %d bytes, error %v", want, len(data), err)
		}
		return nil
	})
	found := searchProcesses(t, needles, "cmdline", "environ")
	if !slices.Equal(found, []string{want}) {
		t.Errorf("found in %q, only %s was planted", found, want)
	}
	n := 0
	if s.Metadata != nil {
		metadata := string(s.Metadata(t, b.id))
		n = len(metadata)
		if !strings.Contains(metadata, b.id) {
			t.Errorf("the engine's metadata don't name the sandbox: %q", metadata)
		}
		for _, needle := range needles {
			if strings.Contains(metadata, needle) {
				t.Error("a token is in the engine's metadata")
			}
		}
	}
	out, _ := b.exec(drivers.Process{Args: []string{"sh", "-c", "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline /proc/cmdline"}}, false).rest()
	for _, needle := range needles {
		if strings.Contains(strings.Join(out, "\n"), needle) {
			t.Error("a token is in a process inside")
		}
	}
	if f, err := os.ReadDir(b.spec.Dir); err == nil {
		for _, e := range f {
			n += searchFile(t, filepath.Join(b.spec.Dir, e.Name()), needles)
		}
	}
	return fmt.Sprintf("%d bytes of metadata and every process", n)
}

// searchFile reads up to 1 MiB of a file, which is enough for records and logs.
func searchFile(t *testing.T, path string, needles []string) int {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	for _, needle := range needles {
		if strings.Contains(string(data), needle) {
			t.Errorf("a token is in %s", path)
		}
	}
	return len(data)
}
