package library

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	if _, block, err := l.Take(t.Context(), id, dir); err != nil || block != image.Block {
		t.Fatalf("%q, %v", block, err)
	}
	if err := l.store.Remove(image.ID); !errors.Is(err, store.ErrInUse) {
		t.Errorf("%v", err)
	}
}
