package issuer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/internal/discovery"
	"openshell-vm/internal/text"
	"openshell-vm/tokens"
)

// What a hook finds in its environment, beside PATH, HOME, USER and LOGNAME. Its working
// directory is that of EnvDir.
const (
	EnvIssuer = "OPENSHELL_ISSUER"     // the issuer's URL; empty for none
	EnvDir    = "OPENSHELL_ISSUER_DIR" // the documents, in a web server's layout
	EnvCache  = "OPENSHELL_CACHE_CONTROL"
)

const (
	hookDeadline = time.Minute
	hookPath     = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	lookEvery    = 2 * time.Second // how often the documents are compared
	firstRetry   = 30 * time.Second
	longestRetry = 10 * time.Minute
	maxOutput    = 4 << 10 // bytes, of a hook's last words
	lockSuffix   = ".lock" // of a file beside the directory, held by a hook that runs
)

// Hook runs the user's command after each change of the documents.
type Hook struct {
	issuer *Issuer
	dir    string // where the documents are put for it; its parent exists
	log    *slog.Logger
	// Ran is called after each run, if it is set before Serve.
	Ran func()
	run func(ctx context.Context, argv []string, d discovery.Documents) error // replaced by tests

	news chan struct{} // has one place

	mu       sync.Mutex
	argv     []string // nil for none
	tried    string   // what it was to publish last
	failures int
	problem  string // one line; "" after a success
	last     time.Time
	next     time.Time // not before
}

// NewHook makes a hook that runs nothing before Configure and Serve.
func NewHook(i *Issuer, dir string, log *slog.Logger) *Hook {
	h := &Hook{issuer: i, dir: dir, log: log, news: make(chan struct{}, 1)}
	h.run = h.execute
	return h
}

// Configure sets the command and its arguments; none if argv is empty.
func (h *Hook) Configure(argv []string) {
	h.mu.Lock()
	if !slices.Equal(h.argv, argv) {
		h.argv, h.failures, h.problem, h.next = argv, 0, "", time.Time{}
	}
	h.mu.Unlock()
	h.Look()
}

// Look makes Serve compare the documents now: something may have changed.
func (h *Hook) Look() {
	select {
	case h.news <- struct{}{}:
	default: // it will look anyway
	}
}

// Serve runs the command when it is needed, until ctx ends.
func (h *Hook) Serve(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-h.news:
		}
		h.look(ctx)
	}
}

// look runs the command once, if there is something that it has not published.
func (h *Hook) look(ctx context.Context) {
	h.mu.Lock()
	argv := h.argv
	h.mu.Unlock()
	if len(argv) == 0 {
		return
	}
	url := h.issuer.Name().URL
	documents, err := h.issuer.Documents(time.Now())
	by, kids := command(argv), documents.KeyIDs()
	what := documents.Digest() + " " + by
	told, keys := h.issuer.told()
	if err == nil && what == told && keys.has(by, kids) || h.waits(what) {
		return
	}
	began := time.Now()
	if err == nil {
		err = h.run(ctx, argv, documents)
	}
	if ctx.Err() != nil {
		return // the next gateway runs it again
	}
	if err == nil {
		err = h.issuer.tell(what, by, url, kids, time.Now())
	}
	h.note(argv, err, time.Since(began))
	if h.Ran != nil {
		h.Ran()
	}
}

// command is a command in the form in which the record has it.
func command(argv []string) string { return fmt.Sprintf("%q", argv) }

// Published returns since when the command has published a key. Without a command every key
// is: whoever publishes them does it without the gateway.
func (h *Hook) Published(kid string) (since time.Time, is bool) {
	h.mu.Lock()
	argv := h.argv
	h.mu.Unlock()
	if len(argv) == 0 {
		return time.Time{}, true
	}
	_, keys := h.issuer.told()
	since, is = keys.Keys[kid]
	return since, is && keys.By == command(argv)
}

// holdAhead is how long before a key begins it is put off, if it is not published then.
const holdAhead = 2 * time.Minute

// MaySign is for lease.Options: a key signs its publish-for after the command has published
// it, and not before, however long that takes.
func (h *Hook) MaySign(key tokens.KeyInfo, now time.Time) time.Time {
	since, published := h.Published(key.ID)
	planned := key.Planned()
	publishFor := planned.Sub(key.CreatedAt)
	if published {
		if at := since.Add(publishFor); at.After(planned) {
			return at
		}
		return planned
	}
	if key.SignsFrom.Sub(now) > holdAhead {
		return key.SignsFrom // there is time yet
	}
	return now.Add(max(publishFor, 2*holdAhead))
}

// waits reports whether the last run failed a moment ago. What has changed since is not waited
// with.
func (h *Hook) waits(what string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if what != h.tried {
		h.tried, h.failures, h.next = what, 0, time.Time{}
	}
	return time.Now().Before(h.next)
}

// note records how a run ended.
func (h *Hook) note(argv []string, err error, took time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = time.Now()
	if err == nil {
		h.failures, h.problem, h.next = 0, "", time.Time{}
		h.log.Info("the hook has published the issuer's documents", "command", argv[0], "took", took)
		return
	}
	h.failures++
	h.problem = text.Line(err.Error())
	delay := min(firstRetry<<min(h.failures-1, 10), longestRetry)
	h.next = h.last.Add(delay)
	h.log.Warn("the hook failed: others may not know what is signed with",
		"command", argv[0], "failures", h.failures, "error", h.problem, "again after", delay)
}

// Status is one line for people; "" if there is no hook.
func (h *Hook) Status() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case len(h.argv) == 0:
		return ""
	case h.problem != "":
		return fmt.Sprintf("%s failed ×%d: %s; it is tried again at %s",
			h.argv[0], h.failures, h.problem, h.next.Format(time.TimeOnly))
	case h.last.IsZero():
		return h.argv[0] + " has not run since the gateway began"
	}
	return h.argv[0] + " has published what there is, at " + h.last.Format(time.DateTime)
}

// execute puts the documents into the directory and runs the command there. It holds a lock
// that the command inherits: should this gateway be killed, the next one waits for its end.
func (h *Hook) execute(ctx context.Context, argv []string, d discovery.Documents) error {
	lock, err := h.prepare()
	if err != nil {
		return fmt.Errorf("prepare the hook: %w", err)
	}
	defer lock.Close()
	if _, err := discovery.Export(h.dir, d, false); err != nil {
		return fmt.Errorf("write the documents for the hook: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, hookDeadline, fmt.Errorf("it had not ended after %v, and was killed", hookDeadline))
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env, cmd.ExtraFiles = h.dir, h.environment(d), []*os.File{lock}
	words := &lastWords{}
	cmd.Stdout, cmd.Stderr = words, words
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second // a child of its may have its output open
	err = cmd.Run()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	if said := words.String(); said != "" {
		return fmt.Errorf("%w: %s", err, said)
	}
	return err
}

// prepare makes the directory and takes the lock. The parent is not made: it may have been
// deleted.
func (h *Hook) prepare() (*os.File, error) {
	if err := os.Mkdir(h.dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	lock, err := os.OpenFile(h.dir+lockSuffix, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.New("one that the gateway before started, or a child of it, still runs")
		}
		return nil, err
	}
	return lock, nil
}

// environment is all that the command gets.
func (h *Hook) environment(d discovery.Documents) []string {
	env := []string{"PATH=" + hookPath, EnvIssuer + "=" + h.issuer.Name().URL, EnvDir + "=" + h.dir, EnvCache + "=" + d.CacheControl()}
	for _, name := range []string{"HOME", "USER", "LOGNAME"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// lastWords keeps the end of what is written to it. It is written to by one goroutine.
type lastWords struct{ kept []byte }

func (w *lastWords) Write(p []byte) (int, error) {
	w.kept = append(w.kept, p[max(0, len(p)-maxOutput):]...)
	w.kept = w.kept[max(0, len(w.kept)-maxOutput):]
	return len(p), nil
}

// String is the last words as one line.
func (w *lastWords) String() string {
	return text.Line(strings.ToValidUTF8(strings.TrimSpace(string(w.kept)), "?"))
}
