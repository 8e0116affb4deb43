package library

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/images"
	"openshell-vm/drivers/vm/images/store"
	"openshell-vm/internal/atomicfile"
)

// TestStartNotesTheImage: whatever became of the note that a sandbox uses its image, the
// next start writes it again.
func TestStartNotesTheImage(t *testing.T) {
	const id = "box"
	l, dir := New(t.TempDir(), "", false), t.TempDir()
	release, err := l.store.Pulling()
	if err != nil {
		t.Fatal(err)
	}
	image, err := l.store.Make(store.Image{ID: "sha256:" + strings.Repeat("0", 64), Config: []byte("{}")},
		func(*os.File) error { return nil })
	release()
	if err == nil {
		err = atomicfile.WriteJSON(filepath.Join(dir, File), Kept{Reference: "a", ID: image.ID, Config: image.Config}, atomicfile.Volatile)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, block, err := l.Take(t.Context(), drivers.Spec{ID: id}, dir); err != nil || block != image.Block {
		t.Fatalf("%q, %v", block, err)
	}
	if err := l.store.Remove(image.ID); !errors.Is(err, store.ErrInUse) {
		t.Errorf("%v", err)
	}
}

// TestJailIsRequired: a sandbox that wants a complete jail has its image read in one, whenever
// that is fetched.
func TestJailIsRequired(t *testing.T) {
	dir := t.TempDir()
	asked, program := filepath.Join(dir, "asked"), filepath.Join(dir, "openshell-image")
	script := "#!/bin/sh\nhead -n 1 >" + asked + "\necho '{\"problem\":{\"message\":\"no\"}}'\n"
	kept := Kept{Reference: "a", ID: "sha256:" + strings.Repeat("0", 64), Config: []byte("{}")}
	if err := errors.Join(os.WriteFile(program, []byte(script), 0o700),
		atomicfile.WriteJSON(filepath.Join(dir, File), kept, atomicfile.Volatile)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct{ host, box bool }{{}, {host: true}, {box: true}} {
		l, spec := New(filepath.Join(dir, "images"), program, want.host), drivers.Spec{ID: "box", Image: "a"}
		spec.VM.RequireJail = want.box
		for name, fetch := range map[string]func() error{
			"Pull":  func() error { return l.Pull(t.Context(), drivers.PullRequest{Image: "a", RequireJail: want.box}, nil) },
			"Check": func() error { return l.Check(t.Context(), spec) },
			"Keep":  func() error { return l.Keep(t.Context(), spec, dir) },
			"Take":  func() error { _, _, err := l.Take(t.Context(), spec, dir); return err },
		} {
			var q images.Request
			if err := fetch(); err == nil || !strings.Contains(err.Error(), "no") {
				t.Errorf("%s: %v", name, err)
			}
			data, err := os.ReadFile(asked)
			if err := errors.Join(err, json.Unmarshal(data, &q), os.Remove(asked)); err != nil {
				t.Fatal(name, err)
			}
			if q.RequireJail != (want.host || want.box) {
				t.Errorf("%s with %+v: a jail is required: %v", name, want, q.RequireJail)
			}
		}
	}
}
