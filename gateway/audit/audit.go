// Package audit keeps the record of what was done with tokens and keys: who got which token,
// for whom, signed by which key, and what was refused, with the reason.
//
// The log is a file of JSON lines, 5 files of 8 MiB, which outlives the gateway. What is
// promised: no line holds a token or a part of one, an event is one write, and no sandbox can
// rotate away what others wrote: of the refusals and exchanges of one that floods, only the
// number is written. A token for a share is noted before anybody can read it, one that was asked
// for before it is sent: whatever kills the gateway, no token is about that was not noted.
//
// What is not promised: on a full disk events are lost rather than renewals, and a line says so
// later; a line may not be on the disk yet when the host loses its power.
package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"openshell-vm/internal/rotlog"
	"openshell-vm/internal/text"
)

const (
	maxFile = 8 << 20 // bytes
	files   = 5
	// maxCaused bounds a field of a line that a sandbox can cause, in bytes.
	maxCaused = 512
)

// What happened.
const (
	Mint      = "mint"      // a token was made for a share, a moment before it can be there
	Exchange  = "exchange"  // a token was made for who asked
	Refusal   = "refusal"   // a token, or a request for one, was refused
	Revoke    = "revoke"    // all tokens of a sandbox so far
	Rotate    = "rotate"    // a new key was made, which signs from SignsFrom on
	Sign      = "sign"      // a key begins to sign
	Retire    = "retire"    // a key verifies no more
	Issuer    = "issuer"    // tokens have another issuer or trust domain from now on
	Remove    = "remove"    // a sandbox or share is gone, and its tokens with it
	Lost      = "lost"      // lines that the disk did not take
	Begin     = "begin"     // a gateway began
	Publish   = "publish"   // a generation is in its share
	NoPublish = "unpublish" // a generation could not be published
	Secret    = "secret"    // a secret was made, replaced or removed: Reason says which
)

// Event is one line. Empty fields are left out.
type Event struct {
	Time       time.Time `json:"time"`
	What       string    `json:"what"`
	Sandbox    string    `json:"sandbox,omitempty"` // the id of a sandbox or share
	Name       string    `json:"name,omitempty"`
	Subject    string    `json:"sub,omitempty"`
	Audience   string    `json:"aud,omitempty"`
	Issuer     string    `json:"iss,omitempty"`
	TokenID    string    `json:"jti,omitempty"`
	KeyID      string    `json:"kid,omitempty"`
	Generation uint64    `json:"gen,omitempty"`
	Expires    time.Time `json:"exp,omitzero"`
	SignsFrom  time.Time `json:"signs_from,omitzero"`
	Reason     string    `json:"reason,omitempty"` // of a refusal or a failure, one line
	Caller     string    `json:"caller,omitempty"` // how the caller came: api, socket, listener
	Pod        *Pod      `json:"kubernetes,omitempty"`
}

// Pod is a pod of a Kubernetes cluster, for which a token was made. To which one was refused, it is
// what the token said, and may be a lie.
type Pod struct {
	Cluster        string `json:"cluster"`
	Namespace      string `json:"namespace,omitempty"`
	ServiceAccount string `json:"serviceAccount,omitempty"`
	Name           string `json:"pod,omitempty"`
	TokenID        string `json:"jti,omitempty"` // of the token that it sent
}

// Log is the audit log. A nil Log keeps nothing. It is safe for concurrent use.
type Log struct {
	path string
	log  *slog.Logger
	lost atomic.Uint64 // since the last line that the disk took
	many *floods

	mu   sync.Mutex
	file *rotlog.Log // nil until it could be opened
}

// New makes the log at path, which goes on where the last gateway ended. Problems go to log. A
// file that can't be opened, as on a full disk, is tried again with each event.
func New(path string, log *slog.Logger) *Log {
	l := &Log{path: path, log: log}
	l.many = newFloods(l.write)
	_, _ = l.opened() // Write tells of an error
	return l
}

func (l *Log) opened() (*rotlog.Log, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		return l.file, nil
	}
	file, err := rotlog.Open(l.path, rotlog.Options{Max: maxFile, Count: files, Append: true, Mark: mark})
	if err == nil {
		l.file = file
	}
	return file, err
}

// Write adds an event. It sets the time if that is zero. A failure is logged once until the
// next success. Of what sandboxes can cause at will it writes so much and then counts: see bounds.
func (l *Log) Write(e Event) {
	if l != nil && l.many.admits(e) {
		l.write(e)
	}
}

func (l *Log) write(e Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	file, err := l.opened()
	if err == nil {
		_, err = file.Write(line(e))
	}
	if err == nil {
		l.lost.Store(0)
	} else if l.lost.Add(1) == 1 {
		l.log.Warn("the audit log can't be written", "error", text.Line(err.Error()))
	}
}

// mark is the line for what the disk did not take.
func mark() []byte {
	return line(Event{Time: time.Now(), What: Lost, Reason: "lines are missing here: the disk did not take them"})
}

// like matches what begins as a token does, however much of it there is: a caller may send one as
// an audience, say.
var like = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{12,}[A-Za-z0-9_.=-]*`)

func line(e Event) []byte {
	most := text.MaxLine
	if _, bounded := bounds[e.What]; bounded {
		most = maxCaused
	}
	if e.Pod != nil {
		pod := *e.Pod
		e.Pod = &pod
		for _, field := range []*string{&pod.Namespace, &pod.ServiceAccount, &pod.Name, &pod.TokenID} {
			*field = text.Cut(*field, most)
		}
	}
	for _, field := range []*string{&e.Name, &e.Subject, &e.Audience, &e.Issuer, &e.TokenID, &e.KeyID, &e.Reason} {
		*field = text.Cut(like.ReplaceAllString(*field, "(a token)"), most) // who was refused may have written it
	}
	e.Time = e.Time.UTC()
	var out bytes.Buffer
	to := json.NewEncoder(&out)
	to.SetEscapeHTML(false) // it makes six bytes of one
	_ = to.Encode(e)        // can't fail: plain fields only
	return out.Bytes()
}

// Copy sends the log's lines to out, whole ones, from the oldest that is kept. With follow it
// goes on until ctx ends. It returns ctx's error or that of out. A slow out delays no event.
func (l *Log) Copy(ctx context.Context, follow bool, out func(lines []byte) error) error {
	if l == nil {
		return nil
	}
	file, err := l.opened()
	if err != nil {
		return err
	}
	f, err := file.Follow(true, false)
	if err != nil {
		return err
	}
	defer f.Close()
	next := ctx
	if !follow { // what is there is read, and nothing is waited for
		ended, cancel := context.WithCancel(ctx)
		cancel()
		next = ended
	}
	for {
		lines, err := f.Next(next)
		switch {
		case err != nil && !follow && ctx.Err() == nil:
			return nil
		case err != nil:
			return err
		}
		if err := out(lines); err != nil {
			return err
		}
	}
}

// Close ends the log.
func (l *Log) Close() error {
	if l == nil {
		return nil
	}
	l.many.end()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}
