package gateway

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"openshell-vm/gateway/api"
)

// TestVolumes: a volume is made when it is first used, stays when its sandboxes are removed
// and the gateway restarts, and is not removed while one uses it.
func TestVolumes(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	g := w.run()
	own, err := w.client.Volumes.Create(t.Context(), api.VolumeRequest{Name: "own"})
	w.must(err)
	w.must(os.WriteFile(filepath.Join(own.Dir, "kept"), []byte("x"), 0o600))
	again, err := w.client.Volumes.Create(t.Context(), api.VolumeRequest{Name: "own"})
	if err != nil || again.Dir != own.Dir || !again.CreatedAt.Equal(own.CreatedAt) {
		t.Errorf("made once more: %+v, %v, not %+v", again, err, own)
	}
	s := w.create(api.CreateRequest{Name: "box", Mounts: []api.Mount{
		{Volume: "own", Target: "/own", Writable: true}, {Volume: "new", Target: "/new"}}})
	spec := engine.boxes[s.ID].spec
	if len(spec.Writable) != 1 || spec.Writable[0].Source() != own.Dir || spec.Writable[0].Volume() != "own" ||
		len(spec.Mounts) != 1 || spec.Mounts[0].Source() != filepath.Join(g.home.State, "volumes/new/data") {
		t.Errorf("its driver gets %+v, %+v", spec.Writable, spec.Mounts)
	}
	for dir, mode := range map[string]os.FileMode{own.Dir: 0o755, filepath.Dir(own.Dir): 0o700, spec.Mounts[0].Source(): 0o755} {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", dir, info.Mode(), err)
		}
	}
	inUse := func() {
		t.Helper()
		all, err := w.client.Volumes.List(t.Context())
		if err != nil || len(all) != 2 || all[0].Name != "new" || !slices.Equal(all[1].UsedBy, []string{"box"}) {
			t.Errorf("listed: %+v, %v", all, err)
		}
		refused(t, w.client.Volumes.Remove(t.Context(), "own"), api.CodeConflict, "the volume own is in use by box")
	}
	inUse()
	w.start(s.ID)
	w.stop()
	w.run()
	inUse()
	if got := w.get("box").Mounts; len(got) != 2 || got[0] != (api.Mount{Volume: "own", Target: "/own", Writable: true}) {
		t.Errorf("inspect shows %+v", got)
	}
	w.must(w.client.Remove(t.Context(), "box", true))
	if text, err := os.ReadFile(filepath.Join(own.Dir, "kept")); err != nil || string(text) != "x" {
		t.Errorf("after its sandbox: %q, %v", text, err)
	}
	w.must(w.client.Volumes.Remove(t.Context(), "own"))
	if _, err := os.Lstat(filepath.Dir(own.Dir)); !os.IsNotExist(err) {
		t.Errorf("it is left: %v", err)
	}
	refused(t, w.client.Volumes.Remove(t.Context(), "own"), api.CodeNotFound, `there is no volume "own"`)
}

// TestVolumesRefused: names that lead elsewhere, and a mount that is of two kinds.
func TestVolumesRefused(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	g := w.run()
	for _, name := range []string{"", "..", ".gone-x", "../keys", "a/b", "-a", "a\nb"} {
		_, err := w.client.Volumes.Create(t.Context(), api.VolumeRequest{Name: name})
		refused(t, err, api.CodeInvalid, "name")
		if name != "" {
			_, err = w.client.Create(t.Context(), api.CreateRequest{Mounts: []api.Mount{{Volume: name, Target: "/v"}}})
			refused(t, err, api.CodeInvalid, "name")
		}
		if name != "" && name != ".." && name != "../keys" { // the client's URL cleans these
			refused(t, w.client.Volumes.Remove(t.Context(), name), api.CodeNotFound, "no volume")
		}
	}
	_, err := w.client.Create(t.Context(), api.CreateRequest{Mounts: []api.Mount{{Volume: "v", Source: w.dir, Target: "/v"}}})
	refused(t, err, api.CodeInvalid, "both a directory and a volume")
	_, err = w.client.Create(t.Context(), api.CreateRequest{Mounts: []api.Mount{{Source: g.home.VolumeData("v"), Target: "/v", Writable: true}}})
	refused(t, err, api.CodeInvalid, "does not exist")
	w.must(os.MkdirAll(g.home.VolumeData("v"), 0o755))
	_, err = w.client.Create(t.Context(), api.CreateRequest{Mounts: []api.Mount{{Source: g.home.VolumeData("v"), Target: "/v", Writable: true}}})
	refused(t, err, api.CodeInvalid, "it lies in")
}

// TestVolumeOfAFailedCreation: it leaves no volume of its own, and no claim.
func TestVolumeOfAFailedCreation(t *testing.T) {
	engine := newFake("fake")
	w := newWorld(t, engine)
	g := w.run()
	engine.failing("create", errors.New("no room"))
	_, err := w.client.Create(t.Context(), api.CreateRequest{Mounts: []api.Mount{{Volume: "v", Target: "/v", Writable: true}}})
	if err == nil {
		t.Fatal("it was made")
	}
	if _, err := os.Lstat(g.home.VolumeDir("v")); !os.IsNotExist(err) {
		t.Errorf("its volume is left: %v", err)
	}
	engine.failing("create", nil)
	w.create(api.CreateRequest{Name: "box", Mounts: []api.Mount{{Volume: "v", Target: "/v", Writable: true}}})
	w.must(w.client.Remove(t.Context(), "box", true))
	w.must(w.client.Volumes.Remove(t.Context(), "v"))
}

// TestVolumeOfACreation: a volume is kept while a sandbox with it is being made.
func TestVolumeOfACreation(t *testing.T) {
	engine := newFake("fake")
	engine.blockCreate = make(chan struct{})
	w := newWorld(t, engine)
	w.run()
	made := make(chan error)
	go func() {
		_, err := w.client.Create(t.Context(), api.CreateRequest{Name: "box", Mounts: []api.Mount{{Volume: "v", Target: "/v"}}})
		made <- err
	}()
	w.eventually("the volume is there", func() bool {
		_, err := w.client.Volumes.Get(t.Context(), "v")
		return err == nil
	})
	refused(t, w.client.Volumes.Remove(t.Context(), "v"), api.CodeConflict, "in use by")
	close(engine.blockCreate)
	w.must(<-made)
}

// TestInterruptedRemovalOfAVolume: the next gateway ends it.
func TestInterruptedRemovalOfAVolume(t *testing.T) {
	w := newWorld(t)
	g := w.run()
	v, err := w.client.Volumes.Create(t.Context(), api.VolumeRequest{Name: "v"})
	w.must(err)
	w.must(os.WriteFile(filepath.Join(v.Dir, "f"), nil, 0o600))
	w.stop()
	left := filepath.Join(g.home.Volumes(), ".gone-abcdefghijkl")
	w.must(os.Rename(g.home.VolumeDir("v"), left))
	w.run()
	w.eventually("it is gone", func() bool {
		_, err := os.Lstat(left)
		return os.IsNotExist(err)
	})
	if all, err := w.client.Volumes.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("listed: %+v, %v", all, err)
	}
}

// TestVolumeWithAnUnreadableRecord: nobody knows which volumes such a sandbox uses.
func TestVolumeWithAnUnreadableRecord(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	g := w.run()
	s := w.create(api.CreateRequest{Name: "box", Mounts: []api.Mount{{Volume: "v", Target: "/v"}}})
	w.stop()
	path := g.home.RecordPath(s.ID)
	record, err := os.ReadFile(path)
	w.must(err)
	w.must(os.WriteFile(path, []byte("{"), 0o600))
	w.run()
	refused(t, w.client.Volumes.Remove(t.Context(), "v"), api.CodeConflict, "may be in use")
	w.stop()
	w.must(os.WriteFile(path, record, 0o600))
	w.run()
	w.must(w.client.Remove(t.Context(), "box", true))
	w.must(w.client.Volumes.Remove(t.Context(), "v"))
}
