package sources

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/lease/schedule"
	"openshell-vm/gateway/secrets/vault"
	"openshell-vm/internal/follow"
	"openshell-vm/internal/vocab"
)

// Options are what sources need of others. All are required but Allowed, Secrets and Held.
type Options struct {
	// Changed is called when a source has another content than before: a share shows it under
	// these names. first is true for what was found first, which the share may hold already.
	Changed func(id string, names []string, files Files, first bool)
	// Allowed refuses programs that no command may run, such as one that a sandbox can write. It
	// may look at the file system.
	Allowed func(paths ...string) error
	// Follower follows the files, and judges them itself. Its owner runs it.
	Follower *follow.Follower
	Secrets  *vault.Vault
	// Held returns the files that a share holds now; nil for none. It reads the disk.
	Held func(id string) map[string][]byte
	Log  *slog.Logger
}

// Sources are all sources of a gateway. It is safe for concurrent use. It does nothing by itself
// before Run.
type Sources struct {
	opts  Options
	due   *schedule.Schedule
	hangs time.Duration

	mu        sync.Mutex // a leaf, but for the schedule's and the follower's
	feeds     map[string]*feed
	shown     map[string][]vocab.Source // by the id of the share that shows them
	inherited map[string][]vocab.Source // as shown: of these, what was shown since before Run
	running   bool                      // Run was called
}

// New makes an empty one.
func New(opts Options) *Sources {
	s := &Sources{opts: opts, hangs: hangs,
		feeds: map[string]*feed{}, shown: map[string][]vocab.Source{}, inherited: map[string][]vocab.Source{}}
	s.due = schedule.New(s.run)
	return s
}

// Run runs the commands when they are due, until ctx ends.
func (s *Sources) Run(ctx context.Context) {
	s.mu.Lock()
	s.running = true
	s.mu.Unlock()
	s.due.Serve(ctx)
}

// ClockStepped looks again at what is due, because the host's clock was set. What was made in the
// future is made anew: nobody knows when it expires.
func (s *Sources) ClockStepped() {
	s.mu.Lock()
	now := time.Now()
	for key, f := range s.feeds {
		if f.make != nil && f.state.Has && f.state.MadeAt.Round(0).After(now) {
			s.due.Set(key, now, now)
		}
	}
	s.mu.Unlock()
	s.due.Recheck()
}

func (s *Sources) allowed(paths []string) error {
	if s.opts.Allowed == nil {
		return nil
	}
	return s.opts.Allowed(paths...)
}

// Show says which sources a share shows, as long as something needs them: none ends it. It
// looks at no file and runs nothing itself.
func (s *Sources) Show(id string, list []vocab.Source) {
	list = withoutSecrets(list)
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.shown[id]
	if slices.EqualFunc(before, list, same) {
		return
	}
	s.inherit(id, list)
	if len(list) == 0 {
		delete(s.shown, id)
	} else {
		s.shown[id] = list
	}
	names := map[*feed][]string{}
	for _, spec := range list {
		f := s.feed(spec)
		names[f] = append(names[f], spec.Name)
	}
	for f, shown := range names {
		if f.users[id] == nil && f.state.Has { // the share may hold what was before
			go s.opts.Changed(id, shown, f.files, true)
		}
		f.users[id] = shown
	}
	for _, spec := range before {
		if f := s.feeds[keyOf(spec)]; f != nil && names[f] == nil {
			delete(f.users, id)
			s.drop(f)
		}
	}
}

func same(a, b vocab.Source) bool {
	return reflect.DeepEqual(a, b)
}

// patience is how long somebody waits for the first content of sources.
const patience = 45 * time.Second

// Await waits until each source has given something, and returns an error about the first one
// that fails. A source that has a good content counts, even if it fails now. What they gave is
// kept until release is called, which is never nil.
func (s *Sources) Await(ctx context.Context, list []vocab.Source) (release func(), err error) {
	release = func() {}
	for _, spec := range list {
		if err := s.tryRead(spec); err != nil {
			return release, err
		}
	}
	list = withoutSecrets(list)
	s.mu.Lock()
	feeds, firsts := make([]*feed, len(list)), make([]chan struct{}, len(list))
	for i, spec := range list {
		f := s.feed(spec)
		if f.stop == nil && !f.state.Has && f.state.Problem != "" { // it failed; perhaps it is mended
			f.first, f.state.Problem = make(chan struct{}), ""
			s.due.Set(f.key, time.Now(), time.Now())
		}
		f.holds++
		feeds[i], firsts[i] = f, f.first
	}
	s.mu.Unlock()
	release = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, f := range feeds {
			f.holds--
			s.drop(f)
		}
	}
	return release, s.await(ctx, list, feeds, firsts)
}

// await waits for the feeds of a list.
func (s *Sources) await(ctx context.Context, list []vocab.Source, feeds []*feed, firsts []chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for i, f := range feeds {
		select {
		case <-firsts[i]:
		case <-ctx.Done():
			return fmt.Errorf("the source of %s: %w", list[i].Name, ctx.Err())
		}
		s.mu.Lock()
		st, files := f.state, f.files
		s.mu.Unlock()
		if _, err := shown(list[i], files); err != nil {
			return invalid("shorten the names, or give the files to somebody else", "%v", err)
		}
		if !st.Has {
			return &api.Error{Code: api.CodeInvalid, Message: errNothing(list[i], st).Error(), Hint: hint(list[i])}
		}
	}
	return nil
}

// State returns what is known of a source.
func (s *Sources) State(spec vocab.Source) Known {
	if spec.Secret != "" {
		return s.secretState(spec)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.feeds[keyOf(spec)]; f != nil {
		return f.state
	}
	return Known{}
}

// Problems returns one line for each source of a share that fails, or whose content has expired.
func (s *Sources) Problems(list []vocab.Source, now time.Time) (lines []string) {
	for _, spec := range list {
		st := s.State(spec)
		expired := !st.ExpiresAt.IsZero() && !now.Before(st.ExpiresAt)
		switch {
		case st.Problem != "" && expired:
			lines = append(lines, fmt.Sprintf("the file %s has expired at %s, and its source fails: %s",
				spec.Name, st.ExpiresAt.UTC().Format(time.RFC3339), st.Problem))
		case st.Problem != "":
			lines = append(lines, fmt.Sprintf("the file %s is not renewed, its source fails: %s", spec.Name, st.Problem))
		case expired:
			lines = append(lines, fmt.Sprintf("the file %s has expired at %s", spec.Name, st.ExpiresAt.UTC().Format(time.RFC3339)))
		}
	}
	return lines
}

// content returns a source's last good content.
func (s *Sources) content(spec vocab.Source) (files Files, st Known, ok bool) {
	if spec.Secret != "" {
		return s.secret(spec)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.feeds[keyOf(spec)]
	if f == nil || !f.state.Has {
		if f != nil {
			st = f.state
		}
		return nil, st, false
	}
	return f.files, f.state, true
}

var errTooMuch = fmt.Errorf("all files with sources together are too large for a share, or too many: at most %d MiB, and %d files",
	MaxAll>>20, MaxNames)
