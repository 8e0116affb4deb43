//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"openshell-vm/drivers/driverstest/search"
)

// TestSecretIsGone shows two secrets in sandboxes of all drivers. As long as they are shown, they
// are in clear in the shares and nowhere else. One is taken away by share set, the other by secret
// rm: after the grace each is in no generation and in no sandbox, also not by the path that it
// had there before.
func TestSecretIsGone(t *testing.T) {
	t.Parallel()
	w, list := worldOfAll(t)
	unset, removed := w.secret("unset"), w.secret("removed")
	for _, e := range list {
		flags := append([]string{"--secret", "unset", "--secret", "removed,name=d/pw,mode=0400"}, e.flags...)
		w.start(e.driver, "1h", flags...)
		for file, s := range map[string]*shownSecret{"unset": unset, "d/pw": removed} {
			if got := w.run("exec", e.driver, "cat", "/etc/openshell/auth/"+file); got != s.text {
				t.Errorf("%s: %s holds %q", e.driver, file, got)
			}
			s.paths[e.driver] = strings.TrimSpace(w.run("exec", e.driver, "readlink", "-f", "/etc/openshell/auth/"+file))
		}
	}
	for _, s := range []*shownSecret{unset, removed} {
		w.onlyInShares(s)
		w.provesWhole(s)
		for _, e := range list {
			if found := w.inside(e.driver, s); !strings.Contains(found, s.paths[e.driver]) {
				t.Errorf("%s: the search finds %q, and it is in %s", e.driver, found, s.paths[e.driver])
			}
		}
	}
	for _, e := range list {
		w.run("share", "set", e.driver, "--unset", "unset")
	}
	w.isGone(unset, list)
	w.onlyInShares(removed)
	if r := w.try("secret", "rm", "removed"); r.code == 0 || !strings.Contains(r.stderr, "in use") {
		t.Errorf("a secret that is in use is removed: %+v", r)
	}
	w.run("secret", "rm", "--force", "removed")
	w.isGone(removed, list)
}

// worldOfAll makes a world whose gateway has all engines that there are.
func worldOfAll(t *testing.T) (*world, []engine) {
	w := newWorld(t, os.Getuid())
	for _, name := range hostVars {
		w.setenv(name, os.Getenv(name))
	}
	list := slices.DeleteFunc(slices.Clone(engines), func(e engine) bool { return hostVars[e.driver] != "" && os.Getenv(hostVars[e.driver]) == "" })
	if len(list) < len(engines) && os.Getenv("E2E_REQUIRE") == "1" {
		t.Fatal("DOCKER_HOST or CONTAINER_HOST is not set")
	}
	return w, list
}

// shownSecret is a secret that is looked for.
type shownSecret struct {
	name, text string
	forms      [][]byte
	paths      map[string]string // where a sandbox saw it, without any link, by the sandbox's name
}

// secret makes a secret with a text that nothing else has.
func (w *world) secret(name string) *shownSecret {
	w.Helper()
	text := rand.Text()
	r := w.tryWith(text, "secret", "create", name)
	if r.code != 0 {
		w.Fatalf("secret create: %s", r.stderr)
	}
	return newShownSecret(name, text)
}

func newShownSecret(name, text string) *shownSecret {
	s := &shownSecret{name: name, text: text, paths: map[string]string{}}
	s.forms = [][]byte{[]byte(text), []byte(hex.EncodeToString([]byte(text))), []byte(strings.ToUpper(hex.EncodeToString([]byte(text))))}
	for pad := range 3 { // without the ends, which depend on what stands beside it
		encoded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", pad) + text))
		s.forms = append(s.forms, []byte(encoded[4:len(encoded)-4]))
	}
	return s
}

func (s *shownSecret) in(data []byte) bool {
	return slices.ContainsFunc(s.forms, func(form []byte) bool { return bytes.Contains(data, form) })
}

// places returns where a secret is: files of the gateway and its drivers, guests' disks too;
// processes' arguments and environment; what the gateway and the engines say of the sandboxes.
func (w *world) places(s *shownSecret) (found []string) {
	w.Helper()
	var needles []string
	for _, form := range s.forms {
		needles = append(needles, string(form))
	}
	found = search.Processes(w, needles, "cmdline", "environ", "mountinfo")
	for _, dir := range []string{w.stateDir(), filepath.Join(w.home, "run")} {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && (s.in([]byte(path)) || d.Type().IsRegular() && s.inFile(path)) {
				found = append(found, path)
			}
			return nil // what an error is about was removed meanwhile
		})
	}
	said := map[string]string{"secret inspect": w.try("secret", "inspect", s.name).stdout}
	for _, sandbox := range strings.Fields(w.run("ps", "-a", "-q")) {
		for _, what := range [][]string{{"inspect", sandbox}, {"logs", sandbox}, {"share", "inspect", sandbox}} {
			said[strings.Join(what, " ")] = w.run(what...)
		}
	}
	for name, inspect := range w.inspected() {
		said[name] = inspect
	}
	for what, text := range said {
		if s.in([]byte(text)) {
			found = append(found, what)
		}
	}
	return found
}

// inFile reports whether a secret is in a file. Of a sparse one, as a guest's disk is, holes are
// left out.
func (s *shownSecret) inFile(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	const most = 1 << 20
	for at := int64(0); ; {
		if at, err = unix.Seek(int(f.Fd()), at, unix.SEEK_DATA); err != nil {
			return false // nothing follows but a hole
		}
		data := make([]byte, most)
		n, err := f.ReadAt(data, at)
		if s.in(data[:n]) {
			return true
		}
		if err != nil {
			return false
		}
		at += most - 256 // it may lie across
	}
}

// inspected is what the engines say of all containers.
func (w *world) inspected() map[string]string {
	w.Helper()
	said := map[string]string{}
	for cli, base := range map[string][]string{"docker": {"-H", os.Getenv("DOCKER_HOST")}, "podman": {"--remote", "--url", os.Getenv("CONTAINER_HOST")}} {
		if base[len(base)-1] == "" {
			continue
		}
		out, err := exec.Command(cli, append(base, "ps", "-aq", "--filter", "label=openshell.ai/sandbox-id")...).Output()
		w.must(err)
		for _, id := range strings.Fields(string(out)) {
			// Other tests' containers come and go.
			text, _ := exec.Command(cli, append(slices.Clone(base), "inspect", id)...).Output()
			said[cli+" inspect "+id] = string(text)
		}
	}
	return said
}

// onlyInShares fails the test if a secret is elsewhere than in generations, or not even there.
func (w *world) onlyInShares(s *shownSecret) {
	w.Helper()
	found := w.places(s)
	isShare := func(place string) bool { return strings.HasPrefix(place, w.stateDir()+"/shares/") }
	if !slices.ContainsFunc(found, isShare) {
		w.Errorf("%s is in no share: %q", s.name, found)
	}
	if found = slices.DeleteFunc(found, isShare); len(found) > 0 {
		w.Errorf("%s is in clear in %q", s.name, found)
	}
}

// isGone waits until a secret is in no generation, and then looks for it everywhere.
func (w *world) isGone(s *shownSecret, list []engine) {
	w.Helper()
	for _, e := range list {
		if r := w.try("exec", e.driver, "cat", "/etc/openshell/auth/"+filepath.Base(s.name)); r.code == 0 {
			w.Errorf("%s: %s is still current", e.driver, s.name)
		}
	}
	shares := filepath.Join(w.stateDir(), "shares")
	w.eventually(s.name+" is in no generation", patience, func() bool {
		left := false
		_ = filepath.WalkDir(shares, func(path string, d fs.DirEntry, err error) error {
			left = left || err == nil && d.Type().IsRegular() && s.inFile(path)
			return nil
		})
		return !left
	})
	if found := w.places(s); len(found) > 0 {
		w.Errorf("%s is gone, and in %q", s.name, found)
	}
	for _, e := range list {
		// By the path without links a guest may have it in its caches.
		w.eventually(e.driver+" can't read it by its old path", patience, func() bool {
			return w.try("exec", e.driver, "cat", s.paths[e.driver]).code != 0
		})
		if found := w.inside(e.driver, s); found != "" {
			w.Errorf("%s: it is in %s", e.driver, found)
		}
	}
}

// inside returns the files of a sandbox that have a secret in them. The text comes by standard
// input: nobody's arguments are to have it.
func (w *world) inside(name string, s *shownSecret) string {
	w.Helper()
	const everywhere = "cat >/form; grep -rFlf /form /etc /run /tmp /var /proc/1/environ /proc/1/cmdline 2>/dev/null; rm /form"
	r := w.tryWith(s.text, "exec", "-i", name, "sh", "-c", everywhere)
	if r.code != 0 {
		w.Errorf("the search in %s: %s", name, r.stderr)
	}
	return strings.TrimSpace(r.stdout)
}

// provesWhole plants a secret in each kind of place, and expects the search to find it there and
// inside a sandbox.
func (w *world) provesWhole(s *shownSecret) {
	w.Helper()
	planted := map[string][]byte{"state/gateway.log.planted": s.forms[0], "state/audit.planted": s.forms[1], "run/planted": s.forms[3]}
	for name, form := range planted {
		path := filepath.Join(w.home, name)
		sparse := append(bytes.Repeat([]byte("x"), 1<<20-5), form...) // across two reads
		f, err := os.Create(path)
		w.must(err)
		_, err = f.WriteAt(sparse, 1<<30)
		w.must(errors.Join(err, f.Close()))
		defer os.Remove(path)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	arg := w.command(ctx, "witness/reader", "-count", "0", "-every", "1s", "-path", "/dev/null", s.text)
	env := w.command(ctx, "witness/reader", "-count", "0", "-every", "1s", "-path", "/dev/null")
	env.Env = append(env.Env, "PLANTED="+string(s.forms[2]))
	w.must(errors.Join(arg.Start(), env.Start()))
	w.eventually("all that is planted is found", patience, func() bool {
		found := w.places(s)
		want := []string{fmt.Sprintf("/proc/%d/cmdline", arg.Process.Pid), fmt.Sprintf("/proc/%d/environ", env.Process.Pid)}
		for name := range planted {
			want = append(want, filepath.Join(w.home, name))
		}
		return !slices.ContainsFunc(want, func(place string) bool { return !slices.Contains(found, place) })
	})
	cancel()
	_, _ = arg.Wait(), env.Wait()
}
