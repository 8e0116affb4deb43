package oauthfile

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"openshell-vm/gateway/sources/ask"
	"openshell-vm/gateway/sources/command"
)

// TokenFile is the file of a source that holds the access token.
const TokenFile = "token"

const (
	lastWait  = 5 * time.Second // for an answer, once the gateway is to end
	askAgain  = time.Hour       // about a refresh token that the server has refused
	codeGrant = "invalid_grant" // of RFC 6749: the refresh token is not good any more
)

// errorCodes are those that a server may give, by RFC 6749 and its usual additions: others could
// hold anything.
var errorCodes = []string{codeGrant, "invalid_request", "invalid_client", "unauthorized_client", "unsupported_grant_type",
	"invalid_scope", "invalid_target", "temporarily_unavailable", "server_error", "slow_down"}

// Refresher makes the access tokens of one file. It is for one caller at a time.
type Refresher struct {
	path   string
	read   func(ctx context.Context, path string, most int64) ([]byte, error)
	client *http.Client

	refused   [sha256.Size]byte // the file whose refresh token the server has refused
	refusedAt time.Time
	unsaved   *answer // it is used once it is in the file
	cut       bool    // a refresh did not end
}

// answer is what a server gave.
type answer struct {
	token   *oauth2.Token
	content []byte // of the file; nil if it stays as it is
	from    version
}

// New makes a Refresher. read reads the file, and refuses one that must not be used.
func New(path string, read func(ctx context.Context, path string, most int64) ([]byte, error)) *Refresher {
	return &Refresher{path: path, read: read, client: ask.Client(most)}
}

// Make refreshes, and returns the source's files and when they expire; a zero time if nobody says.
func (r *Refresher) Make(ctx context.Context) (map[string][]byte, time.Time, error) {
	ctx, cancel := outlive(ctx)
	defer cancel()
	got, err := r.refresh(ctx)
	if err != nil {
		return nil, time.Time{}, err
	}
	if err := ask.Token(got.AccessToken); err != nil {
		return nil, time.Time{}, err
	}
	if !strings.EqualFold(got.Type(), "bearer") {
		return nil, time.Time{}, errors.New("the server's token is no bearer token")
	}
	expires := got.Expiry
	if expires.IsZero() {
		expires, _ = command.Expiry([]byte(got.AccessToken), command.JWT, time.Now())
	}
	if !expires.IsZero() && !expires.After(time.Now()) {
		return nil, time.Time{}, errors.New("the server's token has expired already")
	}
	return map[string][]byte{TokenFile: []byte(got.AccessToken)}, expires, nil
}

// outlive returns a context with a deadline that ends a while after ctx: an answer may hold the
// only refresh token that is good.
func outlive(ctx context.Context) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithTimeout(context.WithoutCancel(ctx), ask.Deadline)
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(lastWait, cancel) })
	return longer, func() { stop(); cancel() }
}

// refresh asks the server, and has what it says in the file before it returns it.
func (r *Refresher) refresh(ctx context.Context) (*oauth2.Token, error) {
	real, err := filepath.EvalSymlinks(r.path) // a link stays one
	if err != nil {
		return nil, err
	}
	locked, err := lock(ctx, real)
	if err != nil {
		return nil, err
	}
	defer locked.Close()
	if r.unsaved == nil {
		return r.ask(ctx, real)
	}
	got := r.unsaved // it was good enough to be kept
	if err := r.save(real, got, nil); err != nil {
		return nil, err
	}
	r.unsaved = nil
	return got.token, nil
}

// ask is refresh with the file locked.
func (r *Refresher) ask(ctx context.Context, real string) (*oauth2.Token, error) {
	if _, err := r.read(ctx, real, most); err != nil { // before anything is done beside it
		return nil, err
	}
	cut, err := complete(real)
	if err != nil {
		return nil, err
	}
	r.cut = r.cut || cut
	from, err := versionOf(real)
	if err != nil {
		return nil, err
	}
	data, err := r.read(ctx, real, most)
	if err != nil {
		return nil, err
	}
	file, err := parse(data)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	if sum == r.refused && time.Since(r.refusedAt) < askAgain {
		return nil, r.over()
	}
	next, err := prepare(real)
	if err != nil {
		return nil, fmt.Errorf("a new refresh token could not be kept beside it, so none is asked for: %w", err)
	}
	defer next.Discard()
	ctx = context.WithValue(ctx, oauth2.HTTPClient, r.client)
	config := file.config()
	token, err := config.TokenSource(ctx, &oauth2.Token{RefreshToken: file.RefreshToken}).Token()
	if err != nil {
		return nil, r.failed(err, file, sum)
	}
	r.cut = false
	if token.RefreshToken == file.RefreshToken {
		return token, nil
	}
	got := &answer{token: token, from: from}
	if got.content, err = rotated(data, token.RefreshToken); err == nil {
		err = r.save(real, got, next)
	}
	if err != nil {
		r.unsaved = got
		return nil, err
	}
	return token, nil
}

// failed words an error of the library, which holds all that the server sent.
func (r *Refresher) failed(err error, file File, sum [sha256.Size]byte) error {
	host := file.Endpoint
	if u, err := ask.URL(host); err == nil {
		host = u.Host
	}
	var refusal *oauth2.RetrieveError
	if !errors.As(err, &refusal) {
		return fmt.Errorf("%s: %w", host, ask.Reason(err))
	}
	if refusal.ErrorCode == codeGrant {
		r.refused, r.refusedAt = sum, time.Now()
		return r.over()
	}
	code := ""
	if slices.Contains(errorCodes, refusal.ErrorCode) {
		code = " " + refusal.ErrorCode
	}
	if refusal.Response == nil {
		return fmt.Errorf("%s: its answer can't be read", host)
	}
	return fmt.Errorf("%s: it refuses with HTTP %d%s", host, refusal.Response.StatusCode, code)
}

// over is the error of a refresh token that the server does not take any more.
func (r *Refresher) over() error {
	why := ""
	if r.cut {
		why = "; a refresh did not end, so a newer one may be lost"
	}
	return fmt.Errorf("the server does not take its refresh token any more (%s)%s: log in again, and write the file anew", codeGrant, why)
}
