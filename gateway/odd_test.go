package gateway

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/gateway/api"
	"openshell-vm/gateway/state"
)

// odd puts something at path that is not a regular file.
var odd = map[string]func(path string) error{
	"fifo":      func(path string) error { return unix.Mkfifo(path, 0o600) },
	"directory": func(path string) error { return os.MkdirAll(filepath.Join(path, "x"), 0o700) },
	"dangling":  func(path string) error { return os.Symlink("/nowhere/at/all", path) },
	"loop":      func(path string) error { return os.Symlink(path, path) },
	"socket": func(path string) error {
		return unix.Mknod(path, unix.S_IFSOCK|0o600, 0)
	},
}

// inTime expects that f returns within a deadline.
func inTime(t testing.TB, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(patience / 4):
		t.Fatalf("%s hangs", what)
	}
}

// TestOddRecords: a record that is not a regular file is shown. The gateway starts, and the
// other shares are renewed.
func TestOddRecords(t *testing.T) {
	for kind, make := range odd {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			g := w.run()
			bad, good := w.share(api.ShareRequest{Name: "bad"}), w.share(api.ShareRequest{Name: "good"})
			w.put("good", map[string]string{"kept": "here"})
			w.stop()
			w.must(os.Remove(g.home.RecordPath(bad.ID)))
			w.must(make(g.home.RecordPath(bad.ID)))
			expire(t, g, g.byID(good.ID))
			inTime(t, "the start", func() { g = w.run() })
			w.eventually("the other is renewed", func() bool { return token(g.byID(good.ID)).Renewals > 0 })
			tokenOf(t, g, good.Dir)
			if unread := g.roster.Unread(""); len(unread) != 1 || unread[0].ID != bad.ID {
				t.Errorf("shown are %+v", unread)
			}
		})
	}
}

// TestOddFilesBeside: something that is not a regular file is where a record's new version
// or the user's files are written. It delays nobody, and no token.
func TestOddFilesBeside(t *testing.T) {
	for kind, make := range odd {
		for _, name := range []string{state.RecordFile + state.NewSuffix, state.FilesFile + state.NewSuffix, state.FilesFile} {
			t.Run(kind+"-"+name, func(t *testing.T) {
				w := newWorld(t)
				g := w.run()
				made := w.share(api.ShareRequest{Name: "one"})
				s := g.byID(made.ID)
				path := filepath.Join(g.home.SandboxDir(made.ID), name)
				w.must(make(path))
				inTime(t, "a renewal", func() { w.must(s.Deliver(t.Context(), nil)) })
				tokenOf(t, g, made.Dir)
				inTime(t, "a write", func() {
					err := s.Update(func(r *state.Record) { r.GenerationLimit += state.GenerationStep })
					if err == nil {
						err = g.shares.PutFiles(t.Context(), s, api.FilesRequest{Files: map[string][]byte{"a": []byte("1")}})
					}
					if err != nil && kind != "directory" {
						t.Error(err)
					}
				})
				inTime(t, "a renewal", func() { w.must(s.Deliver(t.Context(), nil)) })
				inTime(t, "the removal", func() { w.must(w.client.Shares.Remove(t.Context(), "one", false)) })
			})
		}
	}
}

// TestOddIdentity: an identity file that is not a regular file is refused, by the gateway and
// by programs that look for the gateway.
func TestOddIdentity(t *testing.T) {
	for kind, make := range odd {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			home := w.run().home
			w.stop()
			path := filepath.Join(home.State, api.IdentityFile)
			w.must(os.Remove(path))
			w.must(make(path))
			inTime(t, "a look", func() {
				if client, err := api.Connect(t.Context()); err == nil {
					client.Close()
					t.Error("somebody answers")
				}
			})
			inTime(t, "the start", func() {
				home, err := state.Open()
				if err == nil {
					home.Close()
				}
				if kind != "dangling" && (err == nil || !strings.Contains(err.Error(), api.IdentityFile)) {
					t.Errorf("the start: %v", err)
				}
			})
		})
	}
}
