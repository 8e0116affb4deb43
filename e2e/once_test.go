package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// once lists code that is easily written a second time, each with the only places that may have
// it. The test finds only strings and names. It does not stop anybody who does it on purpose.
var once = map[string]struct {
	pattern *regexp.Regexp
	places  []string
}{
	"a timer that the clock's setting cancels": {regexp.MustCompile(`\.TimerfdCreate\(`), []string{"internal/hostclock"}},
	"the credentials of a socket's other end":  {regexp.MustCompile(`SO_PEERCRED`), []string{"internal/peer"}},
	"the format of a process's files in /proc": {
		regexp.MustCompile(`"/proc/(self|%d|" *\+|)[^"]*"?[^"]*"?/(stat|status|cgroup|cmdline|comm|fdinfo)\b|boot_id`),
		[]string{"internal/procfs"}},
	"a file that takes another's place": {regexp.MustCompile(`\bos\.Rename\(`),
		// A share's steps are numbered and tested one by one. What the store of images renames are
		// directories, and files that outlive a killed process. Volumes are directories, too.
		[]string{"internal/atomicfile", "internal/rotlog", "share", "drivers/vm/images/store", "gateway/volumes"}},
	"a word that all have in common": {regexp.MustCompile(`^type (Size|State|Fact|PullProgress) [^=]`), []string{"internal/vocab"}},
	"what a sandbox runs": {regexp.MustCompile(`^type Process struct`),
		[]string{"internal/vocab", "drivers/vm/hypervisor"}}, // there it is a process of the host
	"a name on a share's disk": {regexp.MustCompile(`"[^" ]*\.\.(data|gen-|is-|was-|new-)`), []string{"share/layout"}},
}

// TestWrittenOnce checks programs and libraries. Tests, and programs that play a sandbox's own,
// are left out: they may know by themselves what they judge.
func TestWrittenOnce(t *testing.T) {
	skipped := []string{"e2e", "drivers/driverstest", "drivers/vm/jail/jailtest", "bin", ".git"}
	looked := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel("..", path)
		if d.IsDir() && (slices.Contains(skipped, name) || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if d.IsDir() || filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		looked++
		lookFor(t, path, name)
		return nil
	})
	if err != nil || looked < 100 {
		t.Errorf("%d files, %v", looked, err)
	}
}

func lookFor(t *testing.T, path, name string) {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		code := strings.TrimSpace(line)
		if strings.HasPrefix(code, "//") {
			continue
		}
		for what, o := range once {
			if o.pattern.MatchString(code) && !slices.ContainsFunc(o.places, func(p string) bool { return below(filepath.Dir(name), p) }) {
				t.Errorf("%s:%d has %s, which is in %v", name, n, what, o.places)
			}
		}
	}
}

// TestWrittenOnceFinds checks that the patterns find what they are there for.
func TestWrittenOnceFinds(t *testing.T) {
	for line, what := range map[string]string{
		`fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, 0)`:       "a timer that the clock's setting cancels",
		`unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)`: "the credentials of a socket's other end",
		`os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))`:              "the format of a process's files in /proc",
		`os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")`:       "the format of a process's files in /proc",
		`os.ReadFile("/proc/self/cgroup")`:                            "the format of a process's files in /proc",
		`os.ReadFile("/proc/sys/kernel/random/boot_id")`:              "the format of a process's files in /proc",
		`if err := os.Rename(temporary, path); err != nil {`:          "a file that takes another's place",
		`target, err := os.Readlink(filepath.Join(auth, "..data"))`:   "a name on a share's disk",
		`type State string`:     "a word that all have in common",
		`type Process struct {`: "what a sandbox runs",
		`unix.Fstatat(v.dir, fmt.Sprintf("..is-%08d", n), &st, 0)`: "a name on a share's disk",
	} {
		for name, o := range once {
			if o.pattern.MatchString(line) != (name == what) {
				t.Errorf("%s is found to be %s: %v", line, name, name != what)
			}
		}
	}
	for _, line := range []string{`"/proc/self/fd/"`, `"/proc/self/exe"`, `os.Stat("/proc/meminfo")`, `"wait for more..."`, `"and so on ..data"`,
		`type Size = vocab.Size`, `type Process = vocab.Process`, `type StateOfIt string`} {
		for name, o := range once {
			if o.pattern.MatchString(line) {
				t.Errorf("%s is taken for %s", line, name)
			}
		}
	}
}
