//go:build e2e

package vm

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"openshell-vm/drivers"
)

// TestHalfADeletedCache deletes files of the cache while a VM runs, as clean-up programs do:
// first every second file, then all. The VM has to go on, and new VMs have to boot each time.
func TestHalfADeletedCache(t *testing.T) {
	d, spec := place(t)
	d.host.CacheDir = t.TempDir()
	first := up(t, d, spec, "sleep 1000")
	for i, clean := range []func(*testing.T, string){deleteHalf, deleteAll} {
		clean(t, d.host.CacheDir)
		// The guest has not looked up the first of them yet.
		runApplets(t, d, first.ID, [][]string{{"sort", "sha1sum", "wc"}, {"cut", "tail", "uniq"}}[i])

		next, nextSpec := place(t)
		next.host.CacheDir = d.host.CacheDir
		nextSpec.ID = []string{"nextcache002", "nextcache003"}[i]
		nextSpec.Dir = next.dir(nextSpec.ID)
		nextSpec = up(t, next, nextSpec, "sleep 1000")
		runApplets(t, next, nextSpec.ID, []string{"awk", "sed"})
		if err := next.Remove(t.Context(), nextSpec.ID); err != nil {
			t.Error(err)
		}
	}
	// It starts again without a cache, too.
	if err := d.Stop(t.Context(), first.ID, 0); err != nil {
		t.Fatal(err)
	}
	deleteAll(t, d.host.CacheDir)
	if err := d.Start(t.Context(), first.ID); err != nil {
		t.Fatal(err, drivers.HintOf(err))
	}
	runApplets(t, d, first.ID, []string{"sort"})
}

// runApplets runs programs of the default root.
func runApplets(t *testing.T, d *Driver, id string, names []string) {
	t.Helper()
	for _, name := range names {
		var out bytes.Buffer
		p := drivers.Process{Args: []string{name, "/etc/passwd"}}
		switch name {
		case "cut":
			p.Args = []string{"cut", "-c1", "/etc/passwd"}
		case "awk", "sed":
			p.Args = []string{name, "", "/etc/group"}
		}
		code, err := d.Exec(t.Context(), id, p, drivers.Streams{Stdout: &out, Stderr: &out})
		if code != 0 || err != nil {
			t.Errorf("%v in %s: %d, %v, %s", p.Args, id, code, err, &out)
		}
	}
}

func deleteHalf(t *testing.T, dir string) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if n++; err != nil || e.IsDir() || n%2 == 0 {
			return err
		}
		t.Logf("deleted: %s", path)
		return os.Remove(path)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func deleteAll(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
}
