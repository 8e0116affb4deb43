package roots

import (
	"fmt"
	"path/filepath"
	"testing"

	"openshell-vm/drivers"
	"openshell-vm/drivers/driverstest/fixture"
	"openshell-vm/drivers/driverstest/trees"
)

// LargeRoot wants every file of a root and of a mount to be seen. There are more of them
// than the process that serves them may have open at once.
func LargeRoot(t *testing.T, h fixture.Harness, files int) {
	s := fixture.NewSuite(t, h)
	root := filepath.Join(h.Dir, "large")
	b := s.Prepare(t, func(b *fixture.Box) {
		b.Spec.Stdin = false
		b.Shell("find /many -type f | wc -l; find /data -type f | wc -l; cat /many/*/last; echo changed >/many/0/last; cat /many/0/last")
	})
	spec, _, err := b.Driver.Resolve(t.Context(), b.Spec)
	if err != nil {
		t.Fatal(err)
	}
	trees.Shell(t, root)
	const dirs = 4
	for i := range files {
		name := filepath.Join(root, "many", fmt.Sprint(i%dirs), fmt.Sprint(i/dirs))
		if i/dirs == files/dirs-1 {
			name = filepath.Join(filepath.Dir(name), "last")
		}
		if err := trees.WriteFile(name, fmt.Sprintln("last of", i%dirs)); err != nil {
			t.Fatal(err)
		}
	}
	spec.VM.Rootfs = root
	spec.Mounts = append(spec.Mounts, fixture.Mount(t, filepath.Join(root, "many"), "/data"))
	if err := b.Driver.Create(t.Context(), spec); err != nil {
		t.Fatal(err, drivers.HintOf(err))
	}
	lines, _ := b.Run(false).Rest()
	want := fmt.Sprintf("[%[1]d %[1]d last of 0 last of 1 last of 2 last of 3 changed]", files)
	if got := fmt.Sprint(lines); got != want {
		t.Errorf("of %d files the sandbox sees %s", files, got)
	}
}
