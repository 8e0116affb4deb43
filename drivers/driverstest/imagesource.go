package driverstest

import (
	"os"
	"testing"

	"openshell-vm/drivers/driverstest/testhost"
	"openshell-vm/drivers/vm/images"
	"openshell-vm/internal/vocab"
)

// ImageSource takes the test image out of an engine, as an image for VMs. kind is how users
// name the engine.
func ImageSource(t *testing.T, kind string) {
	t.Helper()
	dir := t.TempDir()
	pull := func(ref string) (string, error) {
		image, err := images.Pull(t.Context(), images.Request{Dir: dir, Reference: ref, Fresh: true}, os.Getenv,
			func(vocab.PullProgress) {})
		return image.ID, err
	}
	id, err := pull(kind + ":" + testhost.Image)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := pull(kind + ":" + id); err != nil || again != id {
		t.Errorf("by its ID it is %s, %v", again, err)
	}
	_, err = pull(kind + ":localhost/no/such:image")
	Refused(t, err, "has no such image")
}
