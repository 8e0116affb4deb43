package gateway

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openshell-vm/gateway/api"
	"openshell-vm/internal/contract"
	"openshell-vm/share"
)

// aged moves the times at which a share's generations were superseded into the past.
func aged(t *testing.T, dir string, by time.Duration) {
	t.Helper()
	marks, err := filepath.Glob(filepath.Join(dir, "..is-*"))
	if err != nil || len(marks) == 0 {
		t.Fatalf("announcements: %v, %v", marks, err)
	}
	for _, mark := range marks {
		info, err := os.Stat(mark)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(mark, time.Time{}, info.ModTime().Add(-by)); err != nil {
			t.Fatal(err)
		}
	}
}

// pruneIn returns the time until the share's next prune.
func pruneIn(t *testing.T, g *Gateway, id string) time.Duration {
	t.Helper()
	at := g.keeper.Prunes().At(id)
	if at.IsZero() {
		t.Fatal("the share is not to be pruned")
	}
	return time.Until(at)
}

func wantAbout(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	if (got - want).Abs() > 8*time.Second {
		t.Errorf("%s: in %v, want about %v", what, got, want)
	}
}

// resolved returns a file's path inside its generation, as a reader has it that caches
// resolved paths.
func resolved(t *testing.T, dir, name string) string {
	t.Helper()
	path, err := filepath.EvalSymlinks(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestRemovedFileIsGone: a file that was removed or replaced is gone from old generations
// after the grace, without a further publish. A file that was only renewed stays readable by
// its resolved path for two minutes.
func TestRemovedFileIsGone(t *testing.T) {
	w := newWorld(t)
	g := w.run()
	s := w.share(api.ShareRequest{Name: "agent", TTL: time.Hour})
	w.put("agent", map[string]string{"api.key": "secret", "other": "1"})
	key, token := resolved(t, s.Dir, "api.key"), resolved(t, s.Dir, contract.TokenName)
	_, err := w.client.Tokens.Rotate(t.Context(), "agent")
	w.must(err)
	w.put("agent", map[string]string{"other": "2"}, "api.key")
	wantAbout(t, "after a removal", pruneIn(t, g, s.ID), share.DefaultGrace)

	aged(t, s.Dir, share.DefaultGrace)
	g.keeper.Prunes().Set(s.ID, time.Now(), time.Now())
	w.eventually("the removed file is gone", func() bool {
		left, _ := filepath.Glob(filepath.Join(s.Dir, "*", "api.key"))
		return left == nil
	})
	if _, err := os.Stat(key); !os.IsNotExist(err) {
		t.Errorf("by its resolved path: %v", err)
	}
	if _, err := os.ReadFile(token); err != nil {
		t.Errorf("the token is not readable by its resolved path: %v", err)
	}
	w.eventually("it is to be pruned again", func() bool {
		return time.Until(g.keeper.Prunes().At(s.ID)) > time.Minute
	})
	if now := w.shareOf("agent").Token.Generation; now != 4 {
		t.Errorf("generation %d: something was published", now)
	}
}

// TestPruneAfterRestart: the next gateway prunes what a gateway had not pruned at its end.
func TestPruneAfterRestart(t *testing.T) {
	w := newWorld(t)
	w.run()
	s := w.share(api.ShareRequest{Name: "agent", TTL: time.Hour})
	w.put("agent", map[string]string{"api.key": "secret"})
	key := resolved(t, s.Dir, "api.key")
	w.put("agent", nil, "api.key")
	w.stop()
	g := w.run()
	wantAbout(t, "after a restart", pruneIn(t, g, s.ID), 5*time.Second)
	aged(t, s.Dir, share.DefaultGrace)
	g.keeper.Prunes().Set(s.ID, time.Now(), time.Now())
	w.eventually("the removed file is gone", func() bool { _, err := os.Stat(key); return os.IsNotExist(err) })
}

// TestRetiredKeysTokenIsGone: a token whose key was retired is gone from old generations
// after the grace, even if no share's current token is of that key.
func TestRetiredKeysTokenIsGone(t *testing.T) {
	w := newWorld(t)
	g := w.run()
	s := w.share(api.ShareRequest{Name: "agent", TTL: time.Hour})
	w.put("agent", map[string]string{"other": "1"})
	token, other := resolved(t, s.Dir, contract.TokenName), resolved(t, s.Dir, "other")
	old := g.keys.SigningKeyID()
	_, err := w.client.Keys.Rotate(t.Context(), api.RotateRequest{})
	w.must(err)
	aged(t, s.Dir, share.DefaultGrace)
	g.keeper.Prunes().Set(s.ID, time.Now(), time.Now())
	w.eventually("it waits for the overlap's end", func() bool {
		return time.Until(g.keeper.Prunes().At(s.ID)) > time.Minute
	})
	if _, err := os.ReadFile(token); err != nil {
		t.Errorf("the key still verifies, but: %v", err)
	}
	_, err = w.client.Keys.Retire(t.Context(), old, false)
	w.must(err)
	w.eventually("the token is gone", func() bool { _, err := os.Stat(token); return os.IsNotExist(err) })
	if _, err := os.ReadFile(other); err != nil {
		t.Errorf("what stays in the share is not readable by its resolved path: %v", err)
	}
}

// TestPruneEndsWithShare: a removed share is off the schedule of prunes. A prune that fails
// is shown.
func TestPruneEndsWithShare(t *testing.T) {
	w := newWorld(t)
	g := w.run()
	s := w.share(api.ShareRequest{Name: "agent", TTL: time.Hour})
	w.put("agent", map[string]string{"other": "1"})
	away := filepath.Join(filepath.Dir(s.Dir), "away")
	w.must(os.Rename(s.Dir, away))
	w.must(os.WriteFile(s.Dir, nil, 0o600))
	g.keeper.Prunes().Set(s.ID, time.Now(), time.Now())
	w.eventually("it is shown", func() bool {
		return strings.Contains(strings.Join(w.shareOf("agent").Warnings, "\n"), "not a directory")
	})
	w.must(os.Remove(s.Dir))
	w.must(os.Rename(away, s.Dir))
	g.keeper.Prunes().Set(s.ID, time.Now(), time.Now())
	w.eventually("it is not shown any more", func() bool {
		return !strings.Contains(strings.Join(w.shareOf("agent").Warnings, "\n"), "not a directory")
	})
	w.must(w.client.Shares.Remove(t.Context(), "agent", false))
	w.eventually("it is not scheduled any more", func() bool {
		return g.keeper.Prunes().At(s.ID).IsZero()
	})
}

// TestRenewedSourceStays: what a file or a command had before stays readable by its resolved path
// for two minutes, as a token does, also under the next gateway. Once the source is taken away, or is
// another one, it is gone after the grace.
func TestRenewedSourceStays(t *testing.T) {
	w := newWorld(t)
	g := w.run()
	file, out := filepath.Join(t.TempDir(), "settings.php"), filepath.Join(t.TempDir(), "out")
	write := func(text string) {
		w.must(os.WriteFile(file, []byte(text), 0o600))
		w.must(os.WriteFile(out, []byte(text), 0o600))
	}
	write("one")
	command := api.Source{Name: "token", Command: []string{"cat", out}}
	s := w.share(api.ShareRequest{Name: "agent", TTL: time.Hour, Sources: []api.Source{{Name: "settings.php", File: file}, command}})
	old := []string{resolved(t, s.Dir, "settings.php"), resolved(t, s.Dir, "token")}
	stay := func(when string, want ...bool) {
		t.Helper()
		aged(t, s.Dir, share.DefaultGrace)
		_, err := g.byID(s.ID).Lease.Share().Prune(t.Context(), time.Now())
		w.must(err)
		for i, path := range old {
			if _, err := os.ReadFile(path); (err == nil) != want[i] {
				t.Errorf("%s: %v", when, err)
			}
		}
	}
	w.eventually("the file is followed", func() bool { return !w.shareOf("agent").Sources[0].MadeAt.IsZero() })
	write("two")
	w.eventually("the change of the file is published", func() bool {
		text, _ := os.ReadFile(filepath.Join(s.Dir, "settings.php"))
		return string(text) == "two"
	})
	_, err := w.client.Shares.SetSources(t.Context(), "agent", api.SourcesRequest{Set: []api.Source{{Name: "token", Command: []string{"cat", file}}}})
	w.must(err)
	stay("another command", true, false)
	old = old[:1]
	w.stop()
	g = w.run()
	stay("under the next gateway", true)
	_, err = w.client.Shares.SetSources(t.Context(), "agent", api.SourcesRequest{Drop: []string{"settings.php"}})
	w.must(err)
	stay("without the source", false)
}
