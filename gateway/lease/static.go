package lease

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"openshell-vm/internal/contract"
	"openshell-vm/internal/fault"
	"openshell-vm/internal/follow"
	"openshell-vm/internal/vocab"
	"openshell-vm/share"
	"openshell-vm/tokens"
)

// A lease with the auth mode static-token publishes its user's own token, from a file of the
// host that is followed. It is never minted, verified or changed here: what is known of it is
// what it says of itself. A new content that is no token, or has expired, is not published, and
// the last good one stays. The first good one is held in memory; after a restart it is the one
// in the share.

// static is what is known of the user's own token. The lease's mu guards it.
type static struct {
	path    string
	stop    func() // ends the following; nil before the lease is added
	good    []byte // the newest content that was good; nil for none since the gateway began
	shape   tokens.Shape
	again   bool              // the file is to be read anew for the next publish
	shown   [sha256.Size]byte // of what the share holds
	problem string            // why what the file holds now is not published; "" if it is
	ending  string            // that the token expires soon, or has; "" if it does not
}

// never is when a lease is due that nothing makes due.
var never = time.Unix(1<<40, 0)

// followed does what is about the users' own tokens.
type followed struct{ *Keeper }

// begin begins to follow the file of a lease's own token, if it has one.
func (k followed) begin(l *Lease) {
	asked := l.holder.Tokens()
	if asked.Mode != vocab.StaticToken {
		return
	}
	l.mu.Lock()
	if l.static == nil {
		l.static = &static{}
	}
	l.static.path = asked.Static
	l.mu.Unlock()
	if k.opts.Follower == nil {
		return
	}
	stop := k.opts.Follower.Follow(asked.Static, tokens.MaxForeign, func(found follow.Found) { k.found(l, found) })
	l.mu.Lock()
	l.static.stop = stop
	l.mu.Unlock()
}

// end ends what begin began.
func (k followed) end(l *Lease) {
	l.mu.Lock()
	stop := func() {}
	if l.static != nil && l.static.stop != nil {
		stop = l.static.stop
	}
	l.mu.Unlock()
	stop()
	k.expiries.Remove(l.id)
}

// found takes over what the follower found in the file. A new token is published at once.
func (k followed) found(l *Lease, found follow.Found) {
	shape, err := judge(found, time.Now())
	if ahead := time.Until(shape.NotBefore); errors.Is(err, errEarly) {
		time.AfterFunc(ahead, func() { k.opts.Follower.Retell(l.holder.Tokens().Static) })
	}
	l.mu.Lock()
	s := l.static
	was := s.problem
	if err != nil {
		s.problem = oneLine(err)
	} else {
		s.problem, s.good, s.shape = "", found.Data, shape
		if sha256.Sum256(found.Data) != s.shown {
			l.schedule(time.Now())
		}
	}
	now, path, stays := s.problem, s.path, ""
	if s.shown != ([sha256.Size]byte{}) {
		stays = "; the last good token stays"
	}
	l.tellStatic()
	l.mu.Unlock()
	log := k.opts.Log.With("sandbox", l.id, "name", l.holder.Name(), "file", path)
	switch {
	case now != "" && now != was:
		log.Warn("a static token can't be published"+stays, "error", now)
		k.warn(l, fmt.Sprintf("%s: %s%s", path, now, stays))
	case now == "" && was != "":
		log.Info("a static token is good again")
	}
}

// warn tells who follows what happens.
func (k followed) warn(l *Lease, line string) {
	if k.opts.Warned != nil {
		k.opts.Warned(l, line)
	}
}

// tellStatic shows what is wrong with the user's own token. The caller holds l.mu.
func (l *Lease) tellStatic() {
	s := l.static
	switch {
	case s == nil:
	case s.problem != "":
		l.renewal.Problem = fmt.Sprintf("%s can't be published: %s", s.path, s.problem)
	default:
		l.renewal.Problem = s.ending
	}
}

// errEarly means that a token will be good later.
var errEarly = errors.New("it is not valid")

// judge says whether a file's content is a token that can be published at this time.
func judge(found follow.Found, now time.Time) (tokens.Shape, error) {
	if found.Err != nil {
		return tokens.Shape{}, found.Err
	}
	if found.Mode&0o002 != 0 {
		return tokens.Shape{}, errors.New("everybody may write to it (chmod o-w)")
	}
	shape, err := tokens.ShapeOf(found.Data)
	if err == nil && !now.Before(shape.ExpiresAt) {
		err = fmt.Errorf("%w, %v ago", tokens.ErrExpired, now.Sub(shape.ExpiresAt).Truncate(time.Second))
	}
	if err == nil && now.Add(tokens.DefaultLeeway).Before(shape.NotBefore) {
		err = fmt.Errorf("%w before %s", errEarly, shape.NotBefore.Format(time.DateTime))
	}
	return shape, err
}

// readDeadline bounds a read of the file that somebody waits for. It is under publishDeadline.
const readDeadline = 3 * time.Second

// current returns the token that is to be published: the newest good one. If there is none since
// the gateway began, the file is read now; if it can't be, the one in the share stays.
func (k followed) current(l *Lease) ([]byte, tokens.Shape, error) {
	l.mu.Lock()
	s := l.static
	good, shape, again := s.good, s.shape, s.again
	s.again = false
	l.mu.Unlock()
	if good != nil && !again {
		return good, shape, nil
	}
	found := k.readNow(s.path)
	read, err := judge(found, time.Now())
	l.mu.Lock()
	if s.problem = ""; err != nil {
		s.problem = oneLine(err)
	} else {
		s.good, s.shape = found.Data, read
	}
	good, shape = s.good, s.shape
	l.tellStatic()
	l.mu.Unlock()
	if err != nil && k.opts.Follower != nil {
		k.opts.Follower.Retell(s.path) // so that it is known when the file is good again
	}
	if good != nil {
		return good, shape, nil
	}
	err = &fault.Error{Op: "the static token " + s.path, Err: err, Hint: "put a good token into the file; it is followed"}
	last, readErr := share.Read(l.Share().AuthDir())
	if readErr != nil {
		return nil, shape, err
	}
	token := last.Files[contract.TokenName]
	if shape, readErr = tokens.ShapeOf(token); readErr != nil {
		return nil, shape, err
	}
	return token, shape, nil
}

// readNow reads a file for who waits for it.
func (k followed) readNow(path string) follow.Found {
	ctx, cancel := context.WithTimeout(context.Background(), readDeadline)
	defer cancel()
	if k.opts.Follower == nil {
		return follow.Read(ctx, path, tokens.MaxForeign, nil)
	}
	return k.opts.Follower.Read(ctx, path, tokens.MaxForeign)
}

// own returns what reads the user's own token for a generation; nil if the gateway mints it.
func (k followed) own(l *Lease, mode vocab.AuthMode) func(generation uint64) ([]byte, tokens.Claims, error) {
	if mode != vocab.StaticToken {
		return nil
	}
	return func(generation uint64) ([]byte, tokens.Claims, error) {
		data, shape, err := k.current(l)
		return data, l.claimed(shape, generation), err
	}
}

// claimed makes claims of what the user's own token says. It has no key and no issuer of ours.
func (l *Lease) claimed(s tokens.Shape, generation uint64) tokens.Claims {
	return tokens.Claims{SandboxID: l.id, Generation: generation, TokenID: s.TokenID, IssuedAt: s.IssuedAt, ExpiresAt: s.ExpiresAt}
}

// Reread has the next publish read the file of the user's own token anew.
func (l *Lease) Reread() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.static != nil {
		l.static.again = true
	}
}

// startable returns an error if the token that is about to be published is the user's own and
// has expired: nothing is started with it.
func (c *Content) startable(path string) error {
	first := c.tokens[0]
	if now := time.Now(); first.Own != nil && !now.Before(first.minted.ExpiresAt) {
		ago := now.Sub(first.minted.ExpiresAt).Truncate(time.Second)
		return &fault.Error{Op: "the static token " + path, Err: fmt.Errorf("%w, %v ago", tokens.ErrExpired, ago),
			Hint: "put a fresh token into the file, then start it; openshell-vm ps -a shows when it expires"}
	}
	return nil
}

// Startable returns an error if the token in the share is its user's own and has expired.
func (l *Lease) Startable() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.static == nil || l.renewal.ExpiresAt.IsZero() || time.Now().Before(l.renewal.ExpiresAt) {
		return nil
	}
	return (&Content{tokens: []*Token{{Own: noToken, minted: tokens.Claims{ExpiresAt: l.renewal.ExpiresAt}}}}).startable(l.static.path)
}

func noToken(uint64) ([]byte, tokens.Claims, error) {
	return nil, tokens.Claims{}, errors.ErrUnsupported
}

// ttl is the lifetime of the token for the gateway; 0 if its user makes it.
func (l *Lease) ttl() time.Duration {
	if l.holder.Tokens().Mode == vocab.StaticToken {
		return 0
	}
	return l.holder.TTL()
}

// lead is how long before a token's expiry its user is warned: a tenth of its lifetime, within
// bounds.
func lead(issued, expires time.Time) time.Duration {
	if issued.IsZero() {
		return 10 * time.Minute
	}
	return min(max(expires.Sub(issued)/10, time.Minute), time.Hour)
}

// plan plans the warning before the user's own token in the share expires. published is that
// token; nil if it is not known.
func (k followed) plan(l *Lease, published []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.static
	if s == nil {
		return
	}
	if published != nil {
		s.shown = sha256.Sum256(published)
	}
	s.ending = ""
	l.tellStatic()
	at := l.renewal.ExpiresAt.Add(-lead(l.renewal.IssuedAt, l.renewal.ExpiresAt))
	k.expiries.Set(l.id, at, l.renewal.ExpiresAt)
}

// expiring is called by its schedule: when a token expires soon, and when it has.
func (k followed) expiring(_ context.Context, id string) {
	l := k.byID(id)
	if l == nil {
		return
	}
	now := time.Now()
	l.mu.Lock()
	if l.static == nil || l.phase != Renewed {
		l.mu.Unlock()
		return // its next start looks at the token
	}
	expires, path := l.renewal.ExpiresAt, l.static.path
	line := fmt.Sprintf("its user's own token has expired: put a fresh one into %s", path)
	if now.Before(expires) {
		line = fmt.Sprintf("its user's own token expires at %s: put a fresh one into %s", expires.Format(time.DateTime), path)
		k.expiries.Set(id, expires, expires)
	}
	l.static.ending = line
	l.tellStatic()
	l.mu.Unlock()
	k.opts.Log.Warn("a static token ends", "sandbox", id, "name", l.holder.Name(), "file", path, "expires", expires)
	k.warn(l, line)
}
