package host

import (
	"os"
	"path/filepath"
	"testing"

	"openshell-vm/drivers/driverstest"
)

func TestRootsThatAreRefused(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "rootfs.tar")
	secret := filepath.Join(dir, "state")
	link := filepath.Join(dir, "link")
	for _, err := range []error{
		os.WriteFile(file, nil, 0o644), os.MkdirAll(filepath.Join(secret, "sandboxes"), 0o700), os.Symlink(secret, link),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	h := New(Config{})
	h.uid = os.Getuid()
	for root, text := range map[string]string{
		filepath.Join(dir, "nowhere"):     "nowhere does not exist",
		file:                              "rootfs.tar is a file, not a directory",
		"relative":                        `"relative" is not an absolute path`,
		secret:                            "which holds keys",
		filepath.Join(link, "sandboxes"):  "which holds keys",
		filepath.Join(file, "below/file"): "not a directory",
	} {
		driverstest.Refused(t, h.CheckRootfs(t.Context(), root, []string{secret}), text)
	}
	if err := h.CheckRootfs(t.Context(), t.TempDir(), []string{secret}); err != nil {
		t.Errorf("an empty directory: %v", err)
	}
}

// Files of other users would belong to nobody in an ordinary user's VM.
func TestForeignOwnersAreCounted(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"bin/sh", "etc/shadow"} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	h := New(Config{})
	h.uid = os.Getuid() + 1
	err := h.CheckRootfs(t.Context(), root, nil)
	driverstest.Refused(t, err, "5 files in "+root+" belong to other users")
	if n, err := foreignOwners(t.Context(), root, uint32(os.Getuid())); n != 0 || err != nil {
		t.Errorf("own files: %d, %v", n, err)
	}
}
