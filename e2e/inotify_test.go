//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
)

// watchedInside are two programs that `openshell-vm watch` runs on a mirror: one that is started again,
// and one that gets a signal. Each tells of the generation that it finds then.
const watchedInside = `
now() { echo "got $(readlink $1/..data | sed 's/..gen-0*//')"; }
case $2 in
again) now $1 >>/tmp/again; exec sleep 1000000 ;;
hup) told() { now $1 >>/tmp/hup; }; trap "told $1" HUP; now $1 >>/tmp/hup; while :; do sleep 0.2; done ;;
esac
`

// TestInotify has a VM keep a mirror, for one user of it: the environment and inspect say where that is,
// its files are as those of the share, for that user and nobody else, and `openshell-vm watch` works on it.
func TestInotify(t *testing.T) {
	t.Parallel()
	w := newWorld(t, os.Getuid())
	key := filepath.Join(w.home, "key")
	w.must(os.WriteFile(key, []byte("secret"), 0o600))
	w.run("run", "-d", "--driver", "vm", "--name", "m", "--ttl", "1h", "--inotify", "--token-user", "1000",
		"--file", "ssh/key="+key+",mode=0400", "--", "sleep", "1000000")
	if got := strings.TrimSpace(w.run("exec", "m", "sh", "-c", "echo $"+drivers.TokenFileEnv)); got != drivers.MirrorTokenFile {
		t.Errorf("the environment leads to %s, not to %s", got, drivers.MirrorTokenFile)
	}
	if s := w.sandbox("m"); !slices.Contains(s.Details, api.Fact{Name: "mirror of the share", Value: drivers.MirrorDir}) {
		t.Errorf("inspect does not say where the mirror is: %+v", s.Details)
	}
	list := "cd %s/..data && find . | sort | xargs stat -c '%%n %%a %%u:%%g' && cat ssh/key sandbox.jwt"
	share, mirror := w.run("exec", "m", "sh", "-c", fmt.Sprintf(list, drivers.AuthDir)), w.run("exec", "m", "sh", "-c", fmt.Sprintf(list, drivers.MirrorDir))
	if share != mirror || !strings.Contains(share, "./ssh/key 400 ") {
		t.Errorf("the share has\n%s\nand its mirror\n%s", share, mirror)
	}
	for user, may := range map[string]bool{"0": true, "1000": true, "1001": false} {
		for _, dir := range []string{drivers.AuthDir, drivers.MirrorDir} {
			if r := w.try("exec", "--user", user, "m", "cat", dir+"/sandbox.jwt"); (r.code == 0) != may {
				t.Errorf("user %s in %s: %+v", user, dir, r)
			}
		}
	}

	w.run("cp", filepath.Join(w.bin, "openshell-vm"), "m:/tmp")
	w.run("exec", "m", "sh", "-c", "cat >/tmp/watched <<'EOF'\n"+watchedInside+"EOF\n")
	w.run("exec", "-d", "m", "/tmp/openshell-vm", "watch", drivers.MirrorDir, "sh", "/tmp/watched", drivers.MirrorDir, "again")
	w.run("exec", "-d", "m", "/tmp/openshell-vm", "watch", "--signal", "HUP", drivers.MirrorDir, "sh", "/tmp/watched", drivers.MirrorDir, "hup")
	told := func(by string) []string { return generationsIn(w.try("exec", "m", "cat", "/tmp/"+by).stdout) }
	var want []string
	for i := range 4 {
		if i > 0 {
			w.run("token", "rotate", "m")
		}
		want = append(want, fmt.Sprint(w.sandbox("m").Token.Generation))
		for _, by := range []string{"again", "hup"} {
			w.eventually(by+" has read "+want[i], patience, func() bool { return len(told(by)) > i })
			if got := told(by); !slices.Equal(got, want) {
				t.Fatalf("%s was told of %v, and %v are the generations", by, got, want)
			}
		}
	}
	w.shows("m", "running")
}

// TestInotifyRefused: a container has no mirror, and whoever asks for one is told why.
func TestInotifyRefused(t *testing.T) {
	eachContainerEngine(t, func(t *testing.T, w *world, e engine) {
		r := w.try(append(append([]string{"run", "--rm", "--inotify"}, e.flags...), "--", "true")...)
		if r.code != 125 || !strings.Contains(r.stderr, "as it is\nhint: leave out --inotify\n") {
			t.Errorf("%+v", r)
		}
	})
}
