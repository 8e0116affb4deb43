//go:build e2e

package programs_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"openshell-vm/internal/contract"
)

// publishes is how often Node is told.
const publishes = 5

// nodeLoop goes on as the page does, until there is a file /tmp/stop. It tells in a file which
// versions the page's lines have read so far, and when by the sandbox's clock.
const nodeLoop = `%s
const told = { dir, versions: [], at: [] };
setInterval(() => {
	if (fs.existsSync('/tmp/stop')) process.exit();
	if (settings.version === told.versions.at(-1)) return;
	told.versions.push(settings.version);
	told.at.push(Date.now());
	fs.writeFileSync(process.argv[2] + '.new', JSON.stringify(told));
	fs.renameSync(process.argv[2] + '.new', process.argv[2]);
}, 100);
`

// heard is what nodeLoop tells.
type heard struct {
	Dir      string
	Versions []int
	At       []int64 // milliseconds since 1970
}

// testNode publishes again and again. Node's fs.watch has to tell of each, in a VM by the mirror
// that --inotify has it keep; there it tells of nothing in the share itself.
func (w *world) testNode(r *recipe) {
	dir := w.dir("node")
	publish := func(version int) {
		w.Helper()
		path := filepath.Join(dir, "settings.json")
		w.must(os.WriteFile(path+".new", fmt.Appendf(nil, `{"version": %d}`, version), 0o644))
		w.must(os.Rename(path+".new", path))
	}
	publish(1)
	w.host(dir, r.next("host"))
	w.file("listener", "/tmp/loop.mjs", fmt.Sprintf(nodeLoop, r.next("inside")))
	ended := []func() string{w.loop("listener", "exec node /tmp/loop.mjs /tmp/told")}
	share, watched := contract.AuthDir, contract.AuthDir
	if w.driver == "vm" {
		watched = contract.MirrorDir + "/" + contract.MirrorName
		ended = append(ended, w.loop("listener", "OPENSHELL_SANDBOX_TOKEN_FILE="+share+"/sandbox.jwt exec node /tmp/loop.mjs /tmp/deaf"))
	}
	tell := func(which string, version int) (h heard) { // the sandbox waits: to ask it again and again costs a guest much
		w.Helper()
		text := w.inside("listener", fmt.Sprintf("for i in $(seq %d); do ! grep -q '[[,]%d[],]' /tmp/%s 2>/dev/null || break; sleep 0.2; done; cat /tmp/%[3]s",
			patience/(200*time.Millisecond), version, which))
		w.must(json.Unmarshal([]byte(text), &h))
		return h
	}
	tell("told", 1)
	if w.driver == "vm" {
		tell("deaf", 1)
	}
	var late []time.Duration
	for version := 2; version <= publishes+1; version++ {
		began := time.Now()
		publish(version)
		h := tell("told", version)
		if want := upTo(version); h.Dir != watched || !slices.Equal(h.Versions, want) {
			w.Fatalf("in %s it was told of %v, %v were published in %s", h.Dir, h.Versions, want, watched)
		}
		late = append(late, time.UnixMilli(h.At[version-1]).Sub(began).Round(time.Millisecond))
	}
	slices.Sort(late)
	w.Logf("told of all %d publishes, by the sandbox's clock %v to %v after the host's file was replaced", publishes, late[0], late[len(late)-1])
	if w.driver == "vm" {
		now := w.inside("listener", "cat "+share+"/settings.json")
		if h := tell("deaf", 1); h.Dir != share || !slices.Equal(h.Versions, upTo(1)) || now != fmt.Sprintf(`{"version": %d}`, publishes+1) {
			w.Errorf("in %s, which has %s, it was told of %v; the page says that it is not", h.Dir, now, h.Versions)
		}
	}
	w.inside("listener", "touch /tmp/stop")
	for _, end := range ended {
		end()
	}
}

func upTo(n int) (list []int) {
	for i := range n {
		list = append(list, i+1)
	}
	return list
}
