package driverstest

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/fixture"
	"openshell-vm/drivers/driverstest/testhost"
)

// Mounting wants a driver to find other people's containers that mount something inside
// of a directory. mount makes a container, which is not started.
func Mounting(t *testing.T, d drivers.Surveyor, mount func(t testing.TB, name, source, target string)) {
	dir, _ := testhost.WorkDir(t)
	auth := filepath.Join(dir, "auth")
	if err := os.MkdirAll(filepath.Join(auth, "..gen-00000001"), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(auth, "..gen-00000001", "sandbox.jwt")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(auth, "sandbox.jwt")
	if err := os.Symlink("..gen-00000001/sandbox.jwt", link); err != nil {
		t.Fatal(err)
	}
	id := fixture.NewID()
	mount(t, "whole-"+id, auth, drivers.AuthDir)
	mount(t, "single-"+id, link, "/token")
	mount(t, "generation-"+id, filepath.Dir(file), "/generation")
	found, err := d.Mounting(t.Context(), auth)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range found {
		got = append(got, m.Object+" "+m.Target)
	}
	slices.Sort(got)
	if want := []string{"generation-" + id + " /generation", "single-" + id + " /token"}; !slices.Equal(got, want) {
		t.Errorf("found %q, wanted %q", got, want)
	}
}
