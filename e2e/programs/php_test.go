//go:build e2e

package programs_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// remembered is for how long PHP keeps where a path led, unless realpath_cache_ttl says otherwise.
	remembered = 120 * time.Second
	// between is the time between the two publishes: a little more than a share's grace.
	between = 11 * time.Second
)

// phpLoop reads as the page does, in one process, until there is a file /tmp/stop. It tells what it has
// read in a file. With a second argument it forgets first where paths led.
const phpLoop = `<?php
$told = ['reads' => 0, 'failures' => 0, 'tokens' => 0, 'version' => 0, 'last' => ''];
$seen = [];
$fails = function (string $why) use (&$told) { $told['failures']++; $told['last'] = $why; return true; };
set_error_handler(fn ($no, $text) => $fails($text));
while (!file_exists('/tmp/stop')) {
	clearstatcache(isset($argv[2])); // false: only whether there is a file
%s
	$told['reads']++;
	$claims = json_decode((string)base64_decode(strtr(explode('.', (string)$token)[1] ?? '', '-_', '+/')), true);
	if (($claims['exp'] ?? 0) <= time()) $fails('a token that has expired, or none');
	$seen[md5((string)$token)] = true;
	$told['tokens'] = count($seen);
	if (isset($settings['version'])) $told['version'] = $settings['version']; else $fails('no settings');
	file_put_contents($argv[1], json_encode($told)."\n"); // a rename would have PHP forget where paths lead
	usleep(100000);
}
`

// told is what phpLoop tells.
type told struct {
	Reads, Failures, Tokens, Version int
	Last                             string
}

// testPHP publishes twice, 11 seconds apart, while PHP reads. It may never fail, and sees the newest
// when it has forgotten where the path led.
func (w *world) testPHP(r *recipe) {
	dir := w.dir("php")
	publish := func(version int) {
		w.Helper()
		path, text := filepath.Join(dir, "settings.php"), fmt.Sprintf("<?php return ['version' => %d];\n", version)
		w.must(os.WriteFile(path+".new", []byte(text), 0o644))
		w.must(os.Rename(path+".new", path))
		if version > 1 {
			w.eventually("it is published", patience, func() bool {
				now, _ := os.ReadFile(filepath.Join(w.sandbox("web").Share, "settings.php"))
				return string(now) == text
			})
		}
	}
	publish(1)
	w.host(dir, r.next("host"))
	w.file("web", "/tmp/loop.php", fmt.Sprintf(phpLoop, r.next("inside")))
	usual, fresh := w.loop("web", "exec php -d display_errors=0 /tmp/loop.php /tmp/usual"), w.loop("web", "exec php -d display_errors=0 /tmp/loop.php /tmp/fresh forget")
	last := map[string]told{}
	tell := func(which string) told {
		w.Helper()
		if text := w.inside("web", "cat /tmp/"+which+" 2>/dev/null || :"); strings.HasSuffix(text, "\n") { // else it is being written
			var t told
			w.must(json.Unmarshal([]byte(text), &t))
			last[which] = t
		}
		return last[which]
	}
	shows := func(which string, version int) (after time.Duration) {
		w.Helper()
		began := time.Now()
		w.eventually(fmt.Sprint(which, " sees version ", version), patience, func() bool { return w.Failed() || tell(which).Version == version })
		return time.Since(began)
	}
	shows("usual", 1)
	shows("fresh", 1)
	publish(2)
	time.Sleep(between)
	publish(3)
	at := time.Now()
	forgetting := shows("fresh", 3)
	if shows("usual", 3); time.Since(at) > remembered+5*time.Second && w.driver != "vm" {
		w.Errorf("it was seen after %v, %v is told", time.Since(at), remembered)
	}
	w.Logf("the second publish was seen after %v, and after %v by who forgets", time.Since(at).Round(time.Second), forgetting.Round(time.Millisecond))
	w.inside("web", "touch /tmp/stop")
	usual()
	fresh()
	for _, which := range []string{"usual", "fresh"} {
		t := tell(which)
		if w.Logf("%s: %d reads of %d tokens, %d failures", which, t.Reads, t.Tokens, t.Failures); t.Failures > 0 || t.Reads < 10 {
			w.Errorf("%+v", t)
		}
	}
}
