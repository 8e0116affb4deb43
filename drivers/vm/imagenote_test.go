package vm

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/drivers/vm/images/store"
	"openshell-vm/drivers/vm/monitor"
	"openshell-vm/internal/atomicfile"
)

// TestStartNotesTheImage: whatever became of the note that a sandbox uses its image, the
// next start writes it again.
func TestStartNotesTheImage(t *testing.T) {
	const id = "box"
	d := &Driver{cfg: Config{SandboxesDir: t.TempDir(), CacheDir: t.TempDir()}}
	release, err := d.images().Pulling()
	if err != nil {
		t.Fatal(err)
	}
	image, err := d.images().Make(store.Image{ID: "sha256:" + strings.Repeat("0", 64), Config: []byte("{}")},
		func(*os.File) error { return nil })
	release()
	if err == nil {
		err = os.Mkdir(d.dir(id), 0o700)
	}
	if err == nil {
		err = atomicfile.WriteJSON(filepath.Join(d.dir(id), imageFile), sandboxImage{Reference: "a", ID: image.ID, Config: image.Config}, atomicfile.Volatile)
	}
	if err != nil {
		t.Fatal(err)
	}
	var cfg monitor.Config
	if _, err := d.shareImage(t.Context(), drivers.Spec{ID: id}, &cfg); err != nil || cfg.Image != image.Block {
		t.Fatalf("%q, %v", cfg.Image, err)
	}
	if err := d.images().Remove(image.ID); !errors.Is(err, store.ErrInUse) {
		t.Errorf("%v", err)
	}
}
