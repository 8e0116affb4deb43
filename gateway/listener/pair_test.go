package listener

import (
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestHungFiles: a file system that hangs delays no handshake and no status, is told, and the
// certificate of before is served.
func TestHungFiles(t *testing.T) {
	dir := t.TempDir()
	newAuthority(t).issue(t, dir, 10, 50*24*time.Hour)
	synctest.Test(t, func(t *testing.T) {
		p := newPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), slog.New(slog.DiscardHandler))
		looks, mended := 0, make(chan struct{})
		p.stat = func(path string) (fs.FileInfo, error) { // no file system here can be made to hang without root
			if looks++; looks > 2 {
				<-mended
			}
			return os.Stat(path)
		}
		go p.watch(t.Context())
		if err := p.await(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if c, err := p.get(nil); err != nil || c == nil {
			t.Errorf("a handshake: %v", err)
		}
		if s := p.status(time.Now()); !strings.Contains(s, "does not answer") {
			t.Errorf("status: %q", s)
		}
		close(mended)
		time.Sleep(2 * lookEvery)
		if s := p.status(time.Now()); strings.Contains(s, "does not answer") {
			t.Errorf("mended: %q", s)
		}

		p = newPair(p.files[0], p.files[1], p.log)
		p.stat = func(string) (fs.FileInfo, error) { <-t.Context().Done(); return nil, fs.ErrNotExist }
		go p.watch(t.Context())
		if err := p.await(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "does not answer") {
			t.Errorf("hung from the beginning: %v", err)
		}
	})
}

// TestOpenKey: a key that others can read is told.
func TestOpenKey(t *testing.T) {
	dir := t.TempDir()
	newAuthority(t).issue(t, dir, 10, 50*24*time.Hour)
	key := filepath.Join(dir, "key.pem")
	p := newPair(filepath.Join(dir, "cert.pem"), key, slog.New(slog.DiscardHandler))
	for mode, told := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o644: true} {
		if err := os.Chmod(key, mode); err != nil {
			t.Fatal(err)
		}
		p.refresh()
		if s := p.status(time.Now()); strings.Contains(s, "chmod o-r "+key) != told {
			t.Errorf("%o: %q", mode, s)
		}
	}
}
