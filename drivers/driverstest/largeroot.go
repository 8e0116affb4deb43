package driverstest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"openshell-vm/drivers"
)

// LargeRoot wants every file of a root and of a mount to be seen, where there are
// more of them than the process that serves them may have open at once.
func LargeRoot(t *testing.T, h Harness, files int) {
	s := newSuite(t, h)
	root := filepath.Join(h.Dir, "large")
	b := s.prepare(t, func(b *box) {
		b.spec.Stdin = false
		b.shell("find /many -type f | wc -l; find /data -type f | wc -l; cat /many/*/last; echo changed >/many/0/last; cat /many/0/last")
	})
	spec, _, err := b.driver.Resolve(t.Context(), b.spec)
	if err != nil {
		t.Fatal(err)
	}
	shellRoot(t, root)
	const dirs = 4
	for i := range files {
		name := filepath.Join(root, "many", fmt.Sprint(i%dirs), fmt.Sprint(i/dirs))
		if i/dirs == files/dirs-1 {
			name = filepath.Join(filepath.Dir(name), "last")
		}
		if err := writeFile(name, fmt.Sprintln("last of", i%dirs)); err != nil {
			t.Fatal(err)
		}
	}
	spec.VM.Rootfs = root
	spec.Mounts = append(spec.Mounts, mount(t, filepath.Join(root, "many"), "/data"))
	if err := b.driver.Create(t.Context(), spec); err != nil {
		t.Fatal(err, drivers.HintOf(err))
	}
	lines, _ := b.run(false).rest()
	want := fmt.Sprintf("[%[1]d %[1]d last of 0 last of 1 last of 2 last of 3 changed]", files)
	if got := fmt.Sprint(lines); got != want {
		t.Errorf("of %d files the sandbox sees %s", files, got)
	}
}

// shellRoot makes a root of the host's static busybox.
func shellRoot(t *testing.T, root string) {
	t.Helper()
	for _, dir := range []string{"bin", "dev", "etc", "proc", "sys", "tmp", "run"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"passwd": "root:x:0:0:root:/root:/bin/sh\n", "group": "root:x:0:\n"} {
		if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", busybox, filepath.Join(root, "bin/busybox")).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	applets, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	for applet := range strings.FieldsSeq(string(applets)) {
		if applet == "busybox" {
			continue
		}
		if err := os.Symlink("busybox", filepath.Join(root, "bin", applet)); err != nil {
			t.Fatal(err)
		}
	}
}

func writeFile(name, text string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, []byte(text), 0o644)
}
