package listener

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"openshell-vm/internal/plainfile"
	"openshell-vm/internal/text"
)

const (
	maxPEM    = 1 << 20 // bytes of each file
	lookEvery = time.Second
	slow      = 10 * time.Second // a file system that has not answered by then hangs
	soon      = 7 * 24 * time.Hour
)

// pair is a certificate and its key, in two files that are replaced now and then, perhaps not
// at the same moment. A pair that can't be used leaves the one before in force. Only watch
// touches the files: their file system may hang, and handshakes don't wait for it.
type pair struct {
	files [2]string
	log   *slog.Logger
	stat  func(string) (fs.FileInfo, error) // os.Stat, but for tests
	news  chan struct{}                     // closed after the first look
	began atomic.Int64                      // when the look that is under way began, in Unix nanoseconds; 0 for none
	seen  atomic.Pointer[seen]              // what the last look saw; it is never changed, only replaced

	stamps [2]stamp // of the files that were loaded; watch's own
}

// seen is what is known of the files.
type seen struct {
	loaded  *tls.Certificate // nil if no pair could be used so far
	problem string           // why the files there are not loaded; one line
	open    bool             // others can read the key
}

// stamp tells a file from the one before it.
type stamp struct {
	at   time.Time
	size int64
	info fs.FileInfo
}

func (s stamp) same(o stamp) bool {
	return s.info != nil && o.info != nil && os.SameFile(s.info, o.info) && s.at.Equal(o.at) && s.size == o.size
}

func newPair(cert, key string, log *slog.Logger) *pair {
	p := &pair{files: [2]string{cert, key}, log: log, stat: os.Stat, news: make(chan struct{})}
	p.seen.Store(&seen{})
	return p
}

// watch looks at the files until ctx ends, or for as long as their file system hangs.
func (p *pair) watch(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for first := true; ; first = false {
		p.began.Store(time.Now().UnixNano())
		p.refresh()
		p.began.Store(0)
		if first {
			close(p.news)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// await waits for the first look, and returns why there is no certificate then.
func (p *pair) await(ctx context.Context, changed <-chan struct{}) error {
	patience := time.NewTimer(slow)
	defer patience.Stop()
	select {
	case <-p.news:
	case <-patience.C:
		return errors.New(p.hangs())
	case <-changed:
		return errors.New("the settings have changed")
	case <-ctx.Done():
		return ctx.Err()
	}
	if s := p.seen.Load(); s.loaded == nil {
		return errors.New(s.problem)
	}
	return nil
}

func (p *pair) hangs() string { return "the file system of " + p.files[0] + " does not answer" }

// get is for tls.Config.GetCertificate.
func (p *pair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.seen.Load().loaded, nil }

// refresh reads the files if they are others.
func (p *pair) refresh() {
	before, stamps := p.seen.Load(), p.look()
	now := seen{loaded: before.loaded, open: stamps[1].info != nil && stamps[1].info.Mode().Perm()&0o004 != 0}
	if now.open && !before.open {
		p.log.Warn("others can read the key of the certificate", "file", p.files[1], "hint", "chmod o-r "+p.files[1])
	}
	if before.loaded == nil || !stamps[0].same(p.stamps[0]) || !stamps[1].same(p.stamps[1]) {
		loaded, err := p.read(before.loaded != nil)
		switch {
		case err == nil:
			now.loaded, p.stamps = loaded, stamps
			if before.loaded != nil {
				p.log.Info("a new certificate is served", "expires", loaded.Leaf.NotAfter)
			}
		default:
			now.problem = text.Line(err.Error())
			if before.loaded != nil && now.problem != before.problem {
				p.log.Warn("the new certificate can't be used; the one before is served", "error", now.problem)
			}
		}
	}
	p.seen.Store(&now)
}

func (p *pair) look() (stamps [2]stamp) {
	for i, path := range p.files {
		if info, err := p.stat(path); err == nil {
			stamps[i] = stamp{info.ModTime(), info.Size(), info}
		}
	}
	return stamps
}

// read reads both files. One that has expired is better than none. Its errors quote nothing of
// the files.
func (p *pair) read(fresh bool) (*tls.Certificate, error) {
	var pem [2][]byte
	for i, path := range p.files {
		content, err := plainfile.Read(path, maxPEM)
		if err != nil {
			return nil, err
		}
		pem[i] = content
	}
	loaded, err := tls.X509KeyPair(pem[0], pem[1])
	if err != nil {
		return nil, fmt.Errorf("the certificate %s and the key %s don't fit: %w", p.files[0], p.files[1], err)
	}
	if loaded.Leaf == nil {
		if loaded.Leaf, err = x509.ParseCertificate(loaded.Certificate[0]); err != nil {
			return nil, err
		}
	}
	if fresh && time.Now().After(loaded.Leaf.NotAfter) {
		return nil, errors.New("the certificate " + p.files[0] + " has expired")
	}
	return &loaded, nil
}

// status is one line if something is wrong; else "".
func (p *pair) status(now time.Time) string {
	s, began := p.seen.Load(), p.began.Load()
	expires := s.loaded.Leaf.NotAfter
	switch left := expires.Sub(now); {
	case began != 0 && now.Sub(time.Unix(0, began)) > slow:
		return "the certificate of before is served: " + p.hangs()
	case s.problem != "":
		return "the certificate before is served, since the new one can't be used: " + s.problem
	case left <= 0:
		return "its certificate has expired: verifiers refuse it"
	case left < soon:
		return "its certificate expires at " + expires.Format(time.DateTime)
	case s.open:
		return "others can read its key: chmod o-r " + p.files[1]
	}
	return ""
}
