package gateway

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openshell-vm/drivers"
	"openshell-vm/gateway/api"
)

func TestOpenHome(t *testing.T) {
	state := func(t *testing.T) string {
		dir, err := os.MkdirTemp("", "gw")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		path := filepath.Join(dir, "a", "state")
		t.Setenv(api.EnvStateDir, path)
		t.Setenv(api.EnvRuntimeDir, filepath.Join(dir, "run"))
		return path
	}
	must := func(t *testing.T, err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		what    string
		prepare func(t *testing.T, path string)
		says    string
	}{
		{"fresh", func(*testing.T, string) {}, ""},
		{"there already", func(t *testing.T, path string) { must(t, os.MkdirAll(path, 0o700)) }, ""},
		{"open modes", func(t *testing.T, path string) { must(t, os.MkdirAll(path, 0o755)); must(t, os.Chmod(path, 0o750)) }, "mode 0750"},
		{"a file", func(t *testing.T, path string) {
			must(t, os.MkdirAll(filepath.Dir(path), 0o700))
			must(t, os.WriteFile(path, nil, 0o600))
		}, "not a directory"},
		{"a symlink", func(t *testing.T, path string) {
			must(t, os.MkdirAll(filepath.Dir(path), 0o700))
			must(t, os.Symlink(t.TempDir(), path))
		}, "symbolic link"},
		{"relative", func(t *testing.T, _ string) { t.Setenv(api.EnvStateDir, "state") }, "no absolute path"},
		{"another owner", func(t *testing.T, path string) {
			must(t, os.MkdirAll(path, 0o700))
			if os.Chown(path, 12345, -1) != nil {
				t.Skip("only root can give a directory away")
			}
		}, "belongs to user 12345"},
		{"damaged identity", func(t *testing.T, path string) {
			must(t, os.MkdirAll(path, 0o700))
			must(t, os.WriteFile(filepath.Join(path, api.IdentityFile), []byte("{"), 0o600))
		}, "damaged"},
		{"runtime too long", func(t *testing.T, _ string) { t.Setenv(api.EnvRuntimeDir, "/tmp/"+strings.Repeat("x", 60)) }, "too long"},
		{"runtime open", func(t *testing.T, path string) {
			must(t, os.MkdirAll(path, 0o700))
			must(t, os.WriteFile(filepath.Join(path, api.IdentityFile), []byte(`{"id":"abcdefghijkl"}`), 0o600))
			dir := filepath.Join(os.Getenv(api.EnvRuntimeDir), "abcdefghijkl")
			must(t, os.MkdirAll(dir, 0o755))
			must(t, os.Chmod(dir, 0o755))
		}, "mode 0755"},
	} {
		t.Run(strings.ReplaceAll(c.what, " ", "-"), func(t *testing.T) {
			c.prepare(t, state(t))
			home, err := OpenHome()
			if err == nil {
				defer home.Close()
			}
			if c.says == "" {
				if err != nil || !idPattern.MatchString(home.ID) {
					t.Errorf("%+v, %v", home, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("%v, wanted …%s…", err, c.says)
			}
			if _, hint := Explain(err); hint == "" {
				t.Error("no hint")
			}
		})
	}
}

func TestOneGatewayPerState(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	g := w.run()
	_, err := OpenHome()
	if !errors.Is(err, ErrTaken) || drivers.HintOf(err) == "" {
		t.Errorf("a second gateway: %v", err)
	}
	id, socket := g.home.ID, filepath.Join(g.home.Runtime, api.SocketFile)
	w.stop()
	_ = os.Remove(socket)                    // one that was stopped at once may still be about to
	w.must(os.WriteFile(socket, nil, 0o600)) // as a killed one leaves it
	if g = w.run(); g.home.ID != id {
		t.Errorf("the id was %s and is %s", id, g.home.ID)
	}
}

// TestRuntimeDirStays: a client with another environment finds the gateway.
func TestRuntimeDirStays(t *testing.T) {
	dir, err := os.MkdirTemp("", "gw")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if os.Geteuid() == 0 {
		t.Setenv(api.EnvRuntimeDir, "")
	}
	was := filepath.Join(dir, "was")
	if err := os.Mkdir(was, 0o700); err != nil {
		t.Fatal(err)
	}
	got, err := api.RuntimeDir(dir, api.Identity{ID: "abcdefghijkl", RuntimeDir: was})
	if err != nil || got != was {
		t.Errorf("%s, %v", got, err)
	}
	os.Remove(was)
	got, err = api.RuntimeDir("/"+strings.Repeat("long/", 20), api.Identity{ID: "abcdefghijkl", RuntimeDir: was})
	if err != nil || got == was || len(got) > 70 || !filepath.IsAbs(got) {
		t.Errorf("%s, %v", got, err)
	}
}

// TestRecordSurvives: a writer that is cut off at any point leaves the old
// record or the new one, and the next write goes through.
func TestRecordSurvives(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	g := w.open()
	old := &Record{Version: recordVersion, ID: newID(), Name: "old", Share: "/x"}
	w.must(os.Mkdir(g.home.sandboxDir(old.ID), 0o700))
	w.must(g.home.save(old))
	data, err := json.Marshal(&Record{Version: recordVersion, ID: old.ID, Name: "new", Share: "/x"})
	w.must(err)
	for cut := range len(data) {
		w.must(os.WriteFile(g.home.recordPath(old.ID)+".new", data[:cut], 0o600))
		if r, err := g.home.load(old.ID); err != nil || r.Name != "old" {
			t.Fatalf("cut off after %d bytes: %+v, %v", cut, r, err)
		}
	}
	next := *old
	next.Name = "next"
	w.must(g.home.save(&next))
	if r, err := g.home.load(old.ID); err != nil || r.Name != "next" {
		t.Errorf("%+v, %v", r, err)
	}
	info, err := os.Stat(g.home.recordPath(old.ID))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestDamagedRecordIsLeftAlone, and does not keep the others from being served.
func TestDamagedRecordIsLeftAlone(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	w.run()
	damaged, newer := w.create(api.CreateRequest{Name: "damaged"}), w.create(api.CreateRequest{Name: "newer"})
	w.create(api.CreateRequest{Name: "fine"})
	home := w.gateway.home
	w.stop()
	for id, text := range map[string]string{damaged.ID: "{", newer.ID: `{"version":99}`} {
		w.must(os.WriteFile(home.recordPath(id), []byte(text), 0o600))
	}
	w.run()
	all, err := w.client.List(t.Context())
	if err != nil || len(all) != 3 || all[2].Name != "fine" || all[0].State != "unreadable" || all[1].State != "unreadable" {
		t.Errorf("%+v, %v", all, err)
	}
	for _, id := range []string{damaged.ID, newer.ID} {
		if _, err := os.Stat(home.recordPath(id)); err != nil || engine.count("remove "+id) > 0 || !strings.Contains(w.log.String(), id) {
			t.Errorf("%s was touched, or nobody was told: %v", id, err)
		}
	}
}

func TestEndsWhenIdle(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	g := w.open()
	g.opts.IdleAfter = 50 * time.Millisecond
	s := &sandbox{id: "abcdefghijkl", record: &Record{Driver: "fake", Desired: wantRunning, Made: true}}
	g.sandboxes[s.id] = s
	later := time.Now().Add(time.Hour)
	if g.idle(later) {
		t.Error("it ends while a sandbox should run")
	}
	s.record = &Record{Driver: "fake", Desired: wantStopped, Made: true}
	s.status.State = drivers.Running
	if g.idle(later) {
		t.Error("it ends while a sandbox runs")
	}
	s.status.State = drivers.Exited
	if g.idle(time.Now()) {
		t.Error("it ends right after a need")
	}
	if !g.idle(later) {
		t.Error("it does not end")
	}
	delete(g.sandboxes, s.id)
	if err := g.Run(t.Context()); err != nil { // ends by itself
		t.Error(err)
	}
}

// TestDeletedSocket: a gateway that nobody can reach ends, with an error, so
// that its supervisor starts another one.
func TestDeletedSocket(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	g := w.run()
	w.must(os.Remove(g.home.socket()))
	select {
	case err := <-w.ended:
		if err == nil || !strings.Contains(err.Error(), "deleted") {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("it goes on")
	}
	w.ended = nil
}

// TestCopiedState: the copy's id, and so its socket, is that of a gateway that runs.
func TestCopiedState(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	g := w.run()
	state := g.home.State
	copied := filepath.Join(w.dir, "copied")
	w.must(os.CopyFS(copied, os.DirFS(state)))
	w.must(filepath.WalkDir(copied, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(path, 0o700)
		}
		return err
	}))
	w.edit(filepath.Join(copied, api.IdentityFile), func(o map[string]any) { delete(o, "stateDir") }) // it does not know its original
	t.Setenv(api.EnvStateDir, copied)
	if _, err := OpenHome(); err == nil || !strings.Contains(err.Error(), "another state directory") || errors.Is(err, ErrTaken) {
		t.Errorf("the copy opens: %v", err)
	}
	_, err := api.Connect(t.Context())
	refused(t, err, api.CodeConflict, state)
	t.Setenv(api.EnvStateDir, state)
	if _, err := w.client.Status(t.Context()); err != nil {
		t.Errorf("the first gateway lost its socket: %v", err)
	}
}
