package listener

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"openshell-vm/internal/plainfile"
	"openshell-vm/internal/text"
)

const (
	maxPEM    = 1 << 20     // bytes of each file
	lookEvery = time.Second // at most so often the files are looked at
	soon      = 7 * 24 * time.Hour
)

// pair is a certificate and its key, in two files that are replaced now and then, perhaps not
// at the same moment. A pair that can't be used leaves the one before in force.
type pair struct {
	files [2]string
	log   *slog.Logger

	mu      sync.Mutex
	loaded  *tls.Certificate
	stamps  [2]stamp // of the files that were loaded
	looked  time.Time
	problem string // why the files there are not loaded; one line
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
	return &pair{files: [2]string{cert, key}, log: log}
}

// load reads both files now.
func (p *pair) load() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.read(p.look())
}

// get is for tls.Config.GetCertificate.
func (p *pair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refresh(time.Now())
	return p.loaded, nil
}

// refresh reads the files if they are others. The caller holds p.mu.
func (p *pair) refresh(now time.Time) {
	if since := now.Sub(p.looked); since >= 0 && since < lookEvery {
		return
	}
	p.looked = now
	stamps := p.look()
	if stamps[0].same(p.stamps[0]) && stamps[1].same(p.stamps[1]) {
		p.problem = ""
		return
	}
	before := p.problem
	if err := p.read(stamps); err != nil {
		p.problem = text.Line(err.Error())
		if p.problem != before {
			p.log.Warn("the new certificate can't be used; the one before is served", "error", p.problem)
		}
		return
	}
	p.problem = ""
	p.log.Info("a new certificate is served", "expires", p.loaded.Leaf.NotAfter)
}

func (p *pair) look() (stamps [2]stamp) {
	for i, path := range p.files {
		if info, err := os.Stat(path); err == nil {
			stamps[i] = stamp{info.ModTime(), info.Size(), info}
		}
	}
	return stamps
}

// read reads both files, whose stamps were taken before. Its errors quote nothing of them.
func (p *pair) read(stamps [2]stamp) error {
	var pem [2][]byte
	for i, path := range p.files {
		content, err := plainfile.Read(path, maxPEM)
		if err != nil {
			return err
		}
		pem[i] = content
	}
	loaded, err := tls.X509KeyPair(pem[0], pem[1])
	if err != nil {
		return fmt.Errorf("the certificate %s and the key %s don't fit: %w", p.files[0], p.files[1], err)
	}
	if loaded.Leaf == nil {
		if loaded.Leaf, err = x509.ParseCertificate(loaded.Certificate[0]); err != nil {
			return err
		}
	}
	if time.Now().After(loaded.Leaf.NotAfter) && p.loaded != nil {
		return errors.New("the certificate " + p.files[0] + " has expired")
	}
	p.loaded, p.stamps = &loaded, stamps
	return nil
}

// status is one line if something is wrong; else "".
func (p *pair) status(now time.Time) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refresh(now)
	left := p.loaded.Leaf.NotAfter.Sub(now)
	switch {
	case p.problem != "":
		return "the certificate before is served, since the new one can't be used: " + p.problem
	case left <= 0:
		return "its certificate has expired: verifiers refuse it"
	case left < soon:
		return "its certificate expires at " + p.loaded.Leaf.NotAfter.Format(time.DateTime)
	}
	return ""
}
