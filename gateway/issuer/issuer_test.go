package issuer

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"openshell-vm/internal/discovery"
	"openshell-vm/tokens"
)

// set is keys that a test changes.
type set struct{ text atomic.Value }

func newSet(kids ...string) *set {
	s := &set{}
	s.change(kids...)
	return s
}

func (s *set) change(kids ...string) {
	var keys []map[string]string
	for _, kid := range kids {
		keys = append(keys, map[string]string{"kid": kid, "kty": "OKP", "crv": "Ed25519", "x": kid, "alg": "EdDSA"})
	}
	text, _ := json.Marshal(map[string]any{"keys": keys})
	s.text.Store(text)
}

func (s *set) JWKS(time.Time) ([]byte, error)            { return s.text.Load().([]byte), nil }
func (s *set) Want(time.Time, ...tokens.Algorithm) error { return nil }

var quiet = slog.New(slog.DiscardHandler)

func name(url string) Name { return Name{URL: url, TrustDomain: OwnTrustDomain} }

// TestChange: the former name counts until its last token has expired, over restarts, and a
// name that comes back is no former one.
func TestChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "issuer.json")
	now := time.Now()
	i := Open(path, newSet("a"), quiet)
	if i.Name() != name("") || len(i.Former(now)) != 0 {
		t.Fatalf("%+v", i.Name())
	}
	change := func(want Name, wantChanged bool) {
		t.Helper()
		changed, err := i.Configure(want, time.Minute, now)
		if err != nil || changed != wantChanged || i.Name() != want {
			t.Errorf("%+v: %v, %v", want, changed, err)
		}
	}
	change(name(""), false)
	if _, err := os.Stat(path); err == nil {
		t.Error("written although nothing has changed")
	}
	change(name("https://a.example"), true)
	change(name("https://a.example"), false)
	change(Name{"https://a.example", "b.example"}, true)
	i = Open(path, newSet("a"), quiet) // killed
	if i.Name() != (Name{"https://a.example", "b.example"}) {
		t.Errorf("after a restart: %+v", i.Name())
	}
	former := i.Former(now)
	if len(former) != 2 || former[0].Name != name("https://a.example") || former[1].Name != name("") ||
		!former[1].Until.After(now.Add(tokens.MaxTTL)) {
		t.Errorf("former ones: %+v", former)
	}
	change(name(""), true)
	for _, f := range i.Former(now) {
		if f.Name == name("") {
			t.Error("the present name is a former one, too")
		}
	}
	if left := i.Former(now.Add(tokens.MaxTTL + time.Hour)); len(left) != 0 {
		t.Errorf("for ever: %+v", left)
	}
	for n := range 3 * maxFormer {
		change(name("https://x"+strings.Repeat("x", n)+".example"), true)
	}
	if n := len(i.Former(now)); n > maxFormer {
		t.Errorf("%d former names", n)
	}
}

// TestChangeFails: what can't be written down does not change.
func TestChangeFails(t *testing.T) {
	dir := t.TempDir()
	i := Open(filepath.Join(dir, "gone", "issuer.json"), newSet("a"), quiet)
	if changed, err := i.Configure(name("https://a.example"), 0, time.Now()); err == nil || changed || i.Name() != name("") {
		t.Errorf("%v, %v, %+v", changed, err, i.Name())
	}
	path := filepath.Join(dir, "issuer.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	i = Open(path, newSet("a"), quiet)
	if _, err := i.Configure(name(""), 0, time.Now()); err != nil {
		t.Error(err)
	}
	if _, err := read(path); err != nil {
		t.Errorf("a damaged file is not mended: %v", err)
	}
}

// hookOf is a hook whose runs are counted, and fail as long as fail is set.
func hookOf(t *testing.T, keys Keys) (h *Hook, runs *atomic.Int32, fail *atomic.Bool) {
	i := Open(filepath.Join(t.TempDir(), "issuer.json"), keys, quiet)
	h, runs, fail = NewHook(i, "", quiet), new(atomic.Int32), new(atomic.Bool)
	h.run = func(context.Context, []string, discovery.Documents) error {
		runs.Add(1)
		if fail.Load() {
			return errors.New("no route\x1b[31m")
		}
		return nil
	}
	return h, runs, fail
}

// TestHookRuns: once for each change, again after a failure with growing pauses, and not
// again after a restart.
func TestHookRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := newSet("a")
		h, runs, fail := hookOf(t, keys)
		ctx, cancel := context.WithCancel(t.Context())
		go h.Serve(ctx)
		expect := func(when string, wait time.Duration, want int32) {
			t.Helper()
			time.Sleep(wait)
			synctest.Wait()
			if n := runs.Load(); n != want {
				t.Errorf("%s: %d runs, wanted %d; %s", when, n, want, h.Status())
			}
		}
		expect("without a command", time.Hour, 0)
		if h.Status() != "" {
			t.Error(h.Status())
		}
		h.Configure([]string{"/bin/hook"})
		expect("configured", time.Minute, 1)
		expect("nothing changes", time.Hour, 1)
		keys.change("a", "b")
		expect("a key more", 3*time.Second, 2)
		keys.change("b", "a")
		expect("another order", time.Minute, 2)
		fail.Store(true)
		keys.change("b")
		expect("it fails", 3*time.Second, 3)
		if s := h.Status(); !strings.Contains(s, "failed ×1: no route") || strings.Contains(s, "\x1b") {
			t.Errorf("%q", s)
		}
		expect("again after 30 s", 32*time.Second, 4)
		expect("and after 60 s more", 62*time.Second, 5)
		expect("at least every 10 minutes", 25*time.Hour, 156)
		keys.change("b", "d")
		expect("another change does not wait", 3*time.Second, 157)
		fail.Store(false)
		expect("it works again", 11*time.Minute, 158)
		if s := h.Status(); !strings.Contains(s, "has published what there is") {
			t.Error(s)
		}
		h.Configure([]string{"/bin/other"})
		expect("another command", time.Minute, 159)
		cancel()
		synctest.Wait()
		next := NewHook(Open(h.issuer.path, keys, quiet), "", quiet)
		next.run = h.run
		next.Configure([]string{"/bin/other"})
		go next.Serve(t.Context())
		expect("after a restart", time.Hour, 159)
		keys.change("c")
		expect("a change after the restart", time.Minute, 160)
	})
}

// TestHookOnce: changes during a run make one more run, and never two at once.
func TestHookOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := newSet("a")
		h, runs, _ := hookOf(t, keys)
		var at, most atomic.Int32
		h.run = func(context.Context, []string, discovery.Documents) error {
			most.Store(max(most.Load(), at.Add(1)))
			defer at.Add(-1)
			runs.Add(1)
			time.Sleep(50 * time.Second)
			return nil
		}
		h.Configure([]string{"/bin/hook"})
		go h.Serve(t.Context())
		for n := range 20 {
			time.Sleep(time.Second)
			keys.change("a", strings.Repeat("b", n+1))
			h.Look()
		}
		time.Sleep(time.Hour)
		if runs.Load() != 2 || most.Load() != 1 {
			t.Errorf("%d runs, %d at once", runs.Load(), most.Load())
		}
	})
}

// program writes a shell script and makes a hook that runs it.
func program(t *testing.T, script string) (*Hook, []string) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "hook")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	i := Open(filepath.Join(dir, "issuer.json"), newSet("a"), quiet)
	if _, err := i.Configure(name("https://x.example"), 15*time.Minute, time.Now()); err != nil {
		t.Fatal(err)
	}
	return NewHook(i, filepath.Join(dir, "issuer"), quiet), []string{path, "one word", dir}
}

func (h *Hook) once(t *testing.T, argv []string) error {
	t.Helper()
	d, err := h.issuer.Documents(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return h.execute(t.Context(), argv, d)
}

// TestHookProgram: what a real program finds: arguments, directory, environment, documents.
func TestHookProgram(t *testing.T) {
	t.Setenv("OPENSHELL_SECRET", "do not pass it on")
	h, argv := program(t, `
[ "$1" = "one word" ] || exit 9
cat .well-known/openid-configuration .well-known/jwks.json > "$2/seen"
[ "$PWD" = "$OPENSHELL_ISSUER_DIR" ] || exit 8
env > "$2/env"
`)
	if err := h.once(t, argv); err != nil {
		t.Fatal(err)
	}
	seen, err := os.ReadFile(filepath.Join(argv[2], "seen"))
	if err != nil || !strings.Contains(string(seen), `"issuer": "https://x.example"`) || !strings.Contains(string(seen), `"kid":"a"`) {
		t.Errorf("%s, %v", seen, err)
	}
	env, _ := os.ReadFile(filepath.Join(argv[2], "env"))
	if !strings.Contains(string(env), "OPENSHELL_ISSUER=https://x.example\n") || !strings.Contains(string(env),
		"OPENSHELL_CACHE_CONTROL=public, max-age=600\n") ||
		strings.Contains(string(env), "do not pass it on") {
		t.Errorf("%s", env)
	}
}

// TestHookFails: a failure has the command's last words, bounded and clean.
func TestHookFails(t *testing.T) {
	h, argv := program(t, `
head -c 5000000 /dev/zero | tr '\0' x
printf '\033[31mno such bucket\n' >&2
exit 3
`)
	err := h.once(t, argv)
	if err == nil || !strings.Contains(err.Error(), "exit status 3: ") || strings.Contains(err.Error(), "\x1b") ||
		len(err.Error()) > 2*maxOutput {
		t.Errorf("%.200v", err)
	}
	argv[0] = "/does/not/exist"
	if err := h.once(t, argv); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("%v", err)
	}
	if err := os.RemoveAll(filepath.Dir(h.dir)); err != nil {
		t.Fatal(err)
	}
	if err := h.once(t, argv); err == nil {
		t.Error("the deleted state directory was made anew")
	}
}

// TestHookIsStopped: a hook that hangs is killed with its children, and one that a killed
// gateway left running is waited for.
func TestHookIsStopped(t *testing.T) {
	h, argv := program(t, "sleep 1000 & echo $! > \"$2/pid\"; echo waiting; wait\n")
	d, err := h.issuer.Documents(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.execute(ctx, argv, d) }()
	pid := 0
	until(t, "the hook has begun", func() bool {
		text, _ := os.ReadFile(filepath.Join(argv[2], "pid"))
		pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		return pid > 0
	})
	cancel()
	if err := <-ended; err == nil {
		t.Error("no error")
	}
	until(t, "its child has ended", func() bool {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		return err != nil || strings.Contains(string(text), ") Z ")
	})
	lock, err := h.prepare() // as one that still runs
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := h.once(t, argv); err == nil || !strings.Contains(err.Error(), "still runs") {
		t.Errorf("two at once: %v", err)
	}
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}
