package sources

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"openshell-vm/gateway/sources/command"
	"openshell-vm/gateway/sources/githubapp"
	"openshell-vm/gateway/sources/oauthfile"
	"openshell-vm/internal/vocab"
	"openshell-vm/tokens"
)

// maker makes a source's files, and says when they expire, zero for unknown. A feed never has two
// calls of it under way.
type maker func(context.Context) (Files, time.Time, error)

// maker returns what makes a source's files; nil for a file, which is followed.
func (s *Sources) maker(spec vocab.Source) maker {
	var several func(context.Context) (map[string][]byte, time.Time, error)
	switch {
	case len(spec.Command) > 0:
		return func(ctx context.Context) (Files, time.Time, error) {
			data, expires, err := s.output(ctx, spec)
			return one(data), expires, err
		}
	case spec.GitHubApp != nil:
		several = githubapp.New(*spec.GitHubApp, s.readHost).Make
	case spec.OAuth != "":
		several = oauthfile.New(spec.OAuth, s.readHost).Make
	default:
		return nil
	}
	return func(ctx context.Context) (Files, time.Time, error) { return several(ctx) }
}

// isMade reports whether a source has its files below its name, with a word on their expiry.
func isMade(spec vocab.Source) bool { return spec.GitHubApp != nil || spec.OAuth != "" }

// readHost reads a file of the host that is never shown itself. It is judged as those are that are.
func (s *Sources) readHost(ctx context.Context, path string, most int64) ([]byte, error) {
	found := s.opts.Follower.Read(ctx, path, most)
	if found.Err != nil {
		return nil, fmt.Errorf("%s: %s", path, reason(found.Err))
	}
	return found.Data, nil
}

// aboutFile is the file of a made source that says when the others expire.
const aboutFile = "metadata.json"

// about is what it holds. The gateway reads it after a restart.
type about struct {
	IssuedAt  time.Time `json:"issuedAt"`
	ExpiresAt time.Time `json:"expiresAt,omitzero"`
	Source    string    `json:"source"` // which source it was: a changed one makes its files anew
}

// sealed adds the file that says when the others expire.
func sealed(key string, files Files, issued, expires time.Time) (Files, error) {
	data, err := json.Marshal(about{issued.UTC().Truncate(time.Second), expires.UTC(), sourceID(key)})
	if err != nil {
		return nil, err
	}
	files[aboutFile] = append(data, '\n')
	return files, nil
}

// sourceID tells sources apart, in a few letters.
func sourceID(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:8])
}

// adopt takes what a share holds of a feed that gave nothing yet, as after a restart of the
// gateway: so no refresh token is used for nothing. It returns false if that is due.
func (s *Sources) adopt(f *feed, now time.Time) bool {
	if !isMade(f.spec) || s.opts.Held == nil {
		return false
	}
	s.mu.Lock()
	has, users := f.state.Has, maps.Clone(f.users)
	s.mu.Unlock()
	if has {
		return false
	}
	for id, names := range users {
		held := Held(s.opts.Held(id), names[0])
		var was about
		if json.Unmarshal(held[aboutFile], &was) != nil || was.Source != sourceID(f.key) || was.IssuedAt.After(now) {
			continue
		}
		return s.adopted(f, held, was, now)
	}
	return false
}

// adopted is adopt for what is found.
func (s *Sources) adopted(f *feed, files Files, was about, now time.Time) bool {
	next := was.IssuedAt.Add(usualEvery)
	if !was.ExpiresAt.IsZero() {
		next = tokens.RenewAt(was.IssuedAt, was.ExpiresAt.Sub(was.IssuedAt), f.key)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f.files, f.state = files, Known{Has: true, MadeAt: was.IssuedAt, ExpiresAt: was.ExpiresAt}
	if !next.After(now) {
		return false
	}
	for id, names := range f.users { // they may hold an older one
		go s.opts.Changed(id, names, files, true)
	}
	f.state.NextAt = next
	if s.feeds[f.key] == f {
		s.due.Set(f.key, next, f.urgency())
	}
	select {
	case <-f.first:
	default:
		close(f.first)
	}
	return true
}

// what names the feed for people.
func (f *feed) what() string {
	switch app := f.spec.GitHubApp; {
	case f.spec.File != "":
		return f.spec.File
	case app != nil:
		return fmt.Sprintf("the GitHub App %s, installation %d", app.App, app.Installation)
	case f.spec.OAuth != "":
		return "the OAuth file " + f.spec.OAuth
	}
	return "the command " + f.spec.Command[0]
}

// hint says how a user finds out what is wrong.
func hint(spec vocab.Source) string {
	switch {
	case spec.File != "":
		return "the gateway reads the file as its own user: " + spec.File
	case spec.GitHubApp != nil:
		return "its ids are on the app's page and in its installation's address; the gateway reads the key as its own user"
	case spec.OAuth != "":
		return "the gateway reads and writes the file as its own user: " + spec.OAuth
	}
	return "run it as the gateway does, without your shell's environment: env -i HOME=\"$HOME\" PATH=" + command.SearchPath + " …"
}

// output runs a command that may be run, and reads when its output expires.
func (s *Sources) output(ctx context.Context, spec vocab.Source) (data []byte, expires time.Time, err error) {
	files, err := command.Files(spec.Command)
	if err == nil {
		err = s.allowed(files)
	}
	if err == nil {
		data, err = command.Run(ctx, spec.Command, MaxFile)
	}
	if err == nil {
		expires, err = command.Expiry(data, spec.Format, time.Now())
	}
	return data, expires, err
}
