package sources

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"time"

	"openshell-vm/gateway/lease/schedule"
	"openshell-vm/internal/follow"
	"openshell-vm/internal/text"
	"openshell-vm/internal/vocab"
	"openshell-vm/tokens"
)

// usualEvery is how often a command runs whose output says nothing of its expiry.
const usualEvery = 30 * time.Minute

// soonest is the shortest time between two runs that succeed.
const soonest = 10 * time.Second

// feed is one followed file or one command. Sources.mu guards all but spec, key and turn.
type feed struct {
	key  string
	spec vocab.Source  // without what each share decides
	turn chan struct{} // of capacity 1: who has put something in runs the command
	stop func()        // ends the following of a file; nil for what is made
	make maker         // nil for a followed file

	users map[string][]string // the names under which shares show it, by their ids
	holds int                 // calls of Await that are not released, and a run of the command
	state Known
	runs  int           // that gave something
	files Files         // what it gave last that was good
	given given         // and what it gave before
	first chan struct{} // closed once there is a content or a failure

	lingering *time.Timer // not nil as long as linger keeps it
	gone      bool        // that is over
}

// Known is what is known of a source.
type Known struct {
	Has       bool      // there was a good content since the gateway began to look
	MadeAt    time.Time // when that was found; zero if there is none
	ExpiresAt time.Time // zero if that is not known
	NextAt    time.Time // when the command runs again; zero for a file
	Problem   string    // one line: why the last try failed; "" if it did not
	failures  int
}

// unnamed is a source without what each share that shows it decides for itself.
func unnamed(s vocab.Source) vocab.Source {
	s.Name, s.Mode, s.Owner = "", 0, nil
	return s
}

// keyOf says which sources are the same.
func keyOf(s vocab.Source) string {
	key, _ := json.Marshal(unnamed(s)) // it has no value that can't be marshalled
	return string(key)
}

// feed returns the feed of a source; it makes one if there is none. The caller holds s.mu.
func (s *Sources) feed(spec vocab.Source) *feed {
	key := keyOf(spec)
	if f := s.feeds[key]; f != nil {
		s.takeUp(f)
		return f
	}
	f := &feed{key: key, spec: unnamed(spec), turn: make(chan struct{}, 1), users: map[string][]string{}, first: make(chan struct{})}
	s.feeds[key] = f
	if f.make = s.maker(spec); f.make == nil {
		f.stop = s.opts.Follower.FollowTree(spec.File, MaxFile, inTree, func(found follow.Found) { s.found(f, found) })
	} else {
		s.due.Set(key, time.Now(), time.Now())
	}
	return f
}

// drop ends a feed that nobody uses. The caller holds s.mu.
func (s *Sources) drop(f *feed) {
	if len(f.users) > 0 || f.holds > 0 || s.feeds[f.key] != f {
		return
	}
	if s.linger(f) {
		return
	}
	delete(s.feeds, f.key)
	if f.stop != nil {
		go f.stop() // it may wait for a call of found
		return
	}
	s.due.Remove(f.key)
}

// inTree are the limits of a directory that is followed.
var inTree = follow.Limits{Files: MaxNames, Bytes: MaxAll, Depth: 8}

// found is told what is in a followed file or directory. The follower waits for it.
func (s *Sources) found(f *feed, found follow.Found) {
	files, err := Files(found.Files), found.Err
	if files == nil {
		files = one(found.Data)
	}
	s.mu.Lock()
	if err == nil && f.state.Has {
		err = files.follows(f.files)
	}
	s.mu.Unlock()
	if err == nil {
		err = files.check()
	}
	s.settle(f, files, time.Time{}, err)
}

// run runs a feed's command. The schedule calls it.
func (s *Sources) run(ctx context.Context, key string) {
	s.mu.Lock()
	f := s.feeds[key]
	if f != nil {
		f.holds++ // whoever comes while it runs gets this feed, and no second run
	}
	s.mu.Unlock()
	if f == nil {
		return
	}
	s.again(ctx, f)
	s.mu.Lock()
	defer s.mu.Unlock()
	f.holds--
	s.drop(f)
}

// again runs a feed's command once, but not while another run is under way.
func (s *Sources) again(ctx context.Context, f *feed) {
	s.mu.Lock()
	before := f.runs
	s.mu.Unlock()
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return
	}
	s.mu.Lock()
	just := f.runs != before
	s.mu.Unlock()
	if just {
		return // the run that this one waited for did it
	}
	if s.adopt(f, time.Now()) {
		return
	}
	files, expires, err := s.made(ctx, f)
	if ctx.Err() != nil && err != nil {
		return // nobody waits for it any more; the next run tells
	}
	if err == nil && isMade(f.spec) {
		files, err = sealed(f.key, files, time.Now(), expires)
	}
	s.settle(f, files, expires, err)
}

// settle notes the result of a try, plans the next one, and tells the shares.
func (s *Sources) settle(f *feed, files Files, expires time.Time, err error) {
	now := time.Now()
	var news map[string][]string
	tell := func() {} // a log may wait, and mu is never held over that
	s.mu.Lock()
	st := &f.state
	first := !st.Has
	if err != nil {
		st.failures++
		problem := text.Line(f.what() + ": " + reason(err))
		if problem != st.Problem {
			tell = func() { s.opts.Log.Warn("a source fails; what it gave last stays", "problem", problem) }
		}
		st.Problem = problem
	} else {
		if st.Problem != "" {
			tell = func() { s.opts.Log.Info("a source works again", "source", f.what()) }
		}
		if !st.Has || !f.files.equal(files) {
			news = maps.Clone(f.users)
		}
		f.runs++
		f.files = files.clone()
		f.given.note(files)
		*st = Known{Has: true, MadeAt: now, ExpiresAt: expires}
	}
	if f.stop == nil && s.feeds[f.key] == f {
		st.NextAt = f.next(now)
		s.due.Set(f.key, st.NextAt, f.urgency())
	}
	select {
	case <-f.first:
	default:
		close(f.first)
	}
	s.mu.Unlock()
	go tell()
	if len(news) > 0 {
		go func() { // the follower does not wait for the shares' disk
			for id, names := range news {
				s.opts.Changed(id, names, files, first)
			}
		}()
	}
}

// reason words an error of a source. The path is said already.
func reason(err error) string {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}

// next returns when a command is to run again: before what it printed expires, by the arithmetic
// of tokens. The caller holds Sources.mu.
func (f *feed) next(now time.Time) time.Time {
	st := f.state
	every := f.spec.Every
	if every == 0 {
		every = usualEvery
	}
	life := every
	if !st.ExpiresAt.IsZero() {
		life = st.ExpiresAt.Sub(st.MadeAt)
	}
	switch {
	case st.failures > 0:
		return now.Add(schedule.RetryDelay(st.failures, life))
	case st.ExpiresAt.IsZero():
		return now.Add(every)
	}
	at := tokens.RenewAt(st.MadeAt, life, f.key)
	if f.spec.Every != 0 && now.Add(every).Before(at) {
		at = now.Add(every)
	}
	if earliest := now.Add(soonest); at.Before(earliest) {
		return earliest
	}
	return at
}

// urgency orders the feeds that are due. The caller holds Sources.mu.
func (f *feed) urgency() time.Time {
	if f.state.ExpiresAt.IsZero() {
		return f.state.NextAt.Add(24 * time.Hour)
	}
	return f.state.ExpiresAt
}

// errNothing is the error of a source that has given nothing yet.
func errNothing(spec vocab.Source, st Known) error {
	why := st.Problem
	if why == "" {
		why = "it was not read yet"
	}
	return fmt.Errorf("there is nothing for the file %s: %s", spec.Name, why)
}
