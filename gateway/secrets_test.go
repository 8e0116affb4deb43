package gateway

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"openshell-vm/drivers/driverstest/search"
	"openshell-vm/gateway/api"
	"openshell-vm/share"
)

// The secret's content is not a single literal: the test's own program has it in its memory only.
var plantedSecret = strings.Repeat("hunter2-", 3) + "planted"

// TestSecrets: a secret is in the shares that show it, follows secret set, and is gone after
// secret rm; and it is nowhere else in clear.
func TestSecrets(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	w.run()
	ctx := t.Context()
	old, now := plantedSecret+"-1", plantedSecret+"-2"
	list := []api.Source{{Name: "d/pw", Secret: "db", Mode: 0o400}, {Name: "again", Secret: "db"}}
	_, err := w.client.Shares.Create(ctx, api.ShareRequest{Name: "early", Sources: list})
	refused(t, err, api.CodeNotFound, `there is no secret "db"`)
	_, err = w.client.Create(ctx, api.CreateRequest{Name: "early", Sources: list})
	refused(t, err, api.CodeNotFound, `there is no secret "db"`)
	made, err := w.client.Secrets.Create(ctx, "db", []byte(old))
	w.must(err)
	if made.Name != "db" || made.Size != int64(len(old)) || made.CreatedAt.IsZero() || len(made.UsedBy) != 0 {
		t.Errorf("%+v", made)
	}
	running := w.create(api.CreateRequest{Name: "running", Sources: list})
	w.start("running")
	stopped := w.create(api.CreateRequest{Name: "stopped", Sources: list})
	w.start("stopped")
	_, err = w.client.Stop(ctx, "stopped", time.Second)
	w.must(err)
	own := w.share(api.ShareRequest{Name: "own", Sources: list})
	dirs := []string{running.Share, stopped.Share, own.Dir}
	hold := func(when, want string) {
		t.Helper()
		for _, dir := range dirs {
			held, err := share.Read(dir)
			if err != nil || string(held.Files["d/pw"]) != want || string(held.Files["again"]) != want {
				t.Errorf("%s: %s holds %q, %v", when, dir, held.Files["d/pw"], err)
			}
		}
	}
	hold("at first", old)
	if info, err := os.Stat(filepath.Join(own.Dir, "d/pw")); err != nil || info.Mode().Perm() != 0o400 {
		t.Errorf("mode: %v, %v", info, err)
	}
	seen, err := w.client.Secrets.Set(ctx, "db", []byte(now))
	w.must(err)
	if !slices.Equal(seen.UsedBy, []string{"own", "running", "stopped"}) || len(seen.Warnings) != 0 {
		t.Errorf("%+v", seen)
	}
	hold("after set", now)
	refused(t, w.client.Secrets.Remove(ctx, "db", false), api.CodeConflict, "in use by own, running, stopped")
	_, err = w.client.Secrets.Create(ctx, "db", []byte("x"))
	refused(t, err, api.CodeConflict, "already")
	_, err = w.client.Secrets.Set(ctx, "db", nil)
	refused(t, err, api.CodeInvalid, "empty")
	_, err = w.client.Secrets.Set(ctx, "db", make([]byte, api.MaxSecretSize+1))
	refused(t, err, api.CodeInvalid, "larger than 1 MiB")
	_, err = w.client.Secrets.Create(ctx, "../x", []byte("x"))
	refused(t, err, api.CodeInvalid, "can't be used")
	hold("after what was refused", now)
	w.searchSecret()

	w.stop()
	w.run()
	w.searchSecret()
	if view := w.get("running"); len(view.Sources) != 2 || view.Sources[0].MadeAt.IsZero() || len(view.Warnings) != 0 {
		t.Errorf("%+v, %q", view.Sources, view.Warnings)
	}
	hold("after a restart", now)
	w.must(w.client.Secrets.Remove(ctx, "db", true))
	for _, dir := range dirs {
		if held, err := share.Read(dir); err != nil || held.Files["d/pw"] != nil || held.Files["again"] != nil {
			t.Errorf("removed, and %s holds %q, %v", dir, held.Files["d/pw"], err)
		}
	}
	if view := w.get("running"); len(view.Sources) != 0 || len(view.Warnings) != 0 {
		t.Errorf("%+v, %q", view.Sources, view.Warnings)
	}
	w.searchSecret()
	w.eventually("it is in no generation", func() bool { return len(filesWith(t, w.dir, plantedSecret)) == 0 })
	w.must(os.WriteFile(filepath.Join(w.dir, "there"), []byte(plantedSecret), 0o600))
	if found := filesWith(t, w.dir, plantedSecret); len(found) != 1 {
		t.Errorf("the search found %v", found)
	}
	if _, err := w.client.Secrets.Create(ctx, "db", []byte("another")); err != nil {
		t.Error(err) // its name is free
	}
}

// searchSecret looks for the planted secret where it may not be: on disk outside of shares, in
// answers, and in what other processes can see of the gateway.
func (w *world) searchSecret() {
	w.Helper()
	for _, path := range filesWith(w, w.dir, plantedSecret) {
		if inShare := strings.Contains(path, "/named/") || strings.Contains(path, "/shares/"); !inShare {
			w.Errorf("it is in clear in %s", path)
		}
	}
	if strings.Contains(w.log.String(), plantedSecret) || !strings.Contains(w.log.String(), "a secret was created") {
		w.Error("it is in the log, or nothing is")
	}
	ctx := w.Context()
	secrets, err := w.client.Secrets.List(ctx)
	w.must(err)
	boxes, err := w.client.List(ctx)
	w.must(err)
	shares, err := w.client.Shares.List(ctx)
	w.must(err)
	text, err := json.Marshal([]any{secrets, boxes, shares})
	if err != nil || bytes.Contains(text, []byte(plantedSecret)) {
		w.Errorf("it is in answers: %s, %v", text, err)
	}
	if found := search.Processes(w, []string{plantedSecret}, "cmdline", "environ"); len(found) > 0 {
		w.Errorf("it is in %v", found)
	}
}

// filesWith returns the files below dir that have a text in them.
func filesWith(t testing.TB, dir, text string) (found []string) {
	_ = filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() { // what an error is about was removed meanwhile
			if data, _ := os.ReadFile(path); bytes.Contains(data, []byte(text)) {
				found = append(found, path)
			}
		}
		return nil
	})
	return found
}

// TestSecretRemovalGoesOn: a share that can't be published keeps a removal from its end, and the
// next gateway ends it.
func TestSecretRemovalGoesOn(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	w.run()
	ctx := t.Context()
	_, err := w.client.Secrets.Create(ctx, "db", []byte(plantedSecret))
	w.must(err)
	own := w.share(api.ShareRequest{Name: "own", Sources: []api.Source{{Name: "pw", Secret: "db"}}})
	mend := w.breakShare(own)
	refused(t, w.client.Secrets.Remove(ctx, "db", true), api.CodeConflict, "not everywhere yet")
	_, err = w.client.Secrets.Create(ctx, "db", []byte("x"))
	refused(t, err, api.CodeConflict, "still being removed")
	_, err = w.client.Shares.Create(ctx, api.ShareRequest{Name: "late", Sources: []api.Source{{Name: "pw", Secret: "db"}}})
	refused(t, err, api.CodeConflict, "is being removed")
	w.stop()
	mend()
	w.run()
	w.eventually("it is out of the share and its record", func() bool {
		held, err := share.Read(own.Dir)
		return err == nil && held.Files["pw"] == nil && len(w.shareOf("own").Sources) == 0
	})
	w.eventually("its name is free", func() bool { _, err := w.client.Secrets.Create(ctx, "db", []byte("x")); return err == nil })
}

// TestSecretThatIsUnreadable: what a share has of it stays, and the warning says why.
func TestSecretThatIsUnreadable(t *testing.T) {
	w := newWorld(t, newFake("fake"))
	w.run()
	_, err := w.client.Secrets.Create(t.Context(), "db", []byte(plantedSecret))
	w.must(err)
	own := w.share(api.ShareRequest{Name: "own", Sources: []api.Source{{Name: "pw", Secret: "db"}}})
	w.must(os.WriteFile(filepath.Join(w.dir, "state", "secrets", "db.age"), []byte("age-encryption.org/v1\n"), 0o600))
	_, err = w.client.Tokens.Rotate(t.Context(), "own")
	w.must(err)
	if held, err := share.Read(own.Dir); err != nil || string(held.Files["pw"]) != plantedSecret {
		t.Errorf("%v, %v", held.Files, err)
	}
	if warnings := w.shareOf("own").Warnings; len(warnings) == 0 || !strings.Contains(warnings[0], "can't be decrypted") {
		t.Errorf("%q", warnings)
	}
	_, err = w.client.Secrets.Set(t.Context(), "db", []byte("new"))
	w.must(err)
	if held, err := share.Read(own.Dir); err != nil || string(held.Files["pw"]) != "new" || len(w.shareOf("own").Warnings) != 0 {
		t.Errorf("%v, %v, %q", held.Files, err, w.shareOf("own").Warnings)
	}
}
