//go:build e2e

package vm

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"openshell-vm/drivers"
)

// smallDisk mounts an ext4 of so many MiB.
func smallDisk(t *testing.T, mib int64) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a file system")
	}
	base := t.TempDir()
	image, dir := filepath.Join(base, "image"), filepath.Join(base, "mnt")
	for _, err := range []error{os.WriteFile(image, nil, 0o600), os.Truncate(image, mib<<20), os.Mkdir(dir, 0o755)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"mkfs.ext4", "-q", "-F", "-m", "0", image}, {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", args[0], err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

// TestAGuestDoesNotFillTheDisk has a guest write all it can, beside somebody who
// replaces a small file as a renewal does.
func TestAGuestDoesNotFillTheDisk(t *testing.T) {
	dir := smallDisk(t, 384)
	d, spec := place(t)
	d.cfg.SandboxesDir = filepath.Join(dir, "sandboxes")
	spec.Dir = filepath.Join(d.cfg.SandboxesDir, spec.ID)
	spec.Disk = 1 << 30 // more than there is
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 250<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	spec = up(t, d, spec, "while :; do cat /bin/busybox /bin/busybox /bin/busybox; done >/fill 2>/dev/null")

	stop, failed := make(chan struct{}), make(chan error, 1)
	go func() { failed <- renew(dir, stop) }()
	reason := awaitReason(t, d, spec.ID, func(r string) bool { return strings.HasPrefix(r, "frozen: ") })
	t.Logf("the guest is %s", reason)
	var stderr bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := d.Exec(ctx, spec.ID, drivers.Process{Args: []string{"true"}}, drivers.Streams{Stderr: &stderr}); err == nil ||
		!strings.Contains(err.Error(), "frozen: ") {
		t.Errorf("exec: %v, %s", err, &stderr)
	}
	time.Sleep(3 * time.Second) // the renewals go on
	close(stop)
	if err := <-failed; err != nil {
		t.Errorf("a renewal: %v", err)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	awaitReason(t, d, spec.ID, func(r string) bool { return r == "" })
	if code, err := d.Exec(ctx, spec.ID, drivers.Process{Args: []string{"test", "-e", "/fill"}}, drivers.Streams{}); code != 0 || err != nil {
		t.Errorf("exec after it goes on: %d, %v", code, err)
	}
	if err := d.Stop(t.Context(), spec.ID, 5*time.Second); err != nil {
		t.Error(err)
	}
	expectState(t, d, spec.ID, drivers.Exited)
}

// renew replaces a small file over and over.
func renew(dir string, stop chan struct{}) error {
	name := filepath.Join(dir, "token")
	for {
		select {
		case <-stop:
			return nil
		case <-time.After(20 * time.Millisecond):
		}
		f, err := os.Create(name + ".new")
		if err != nil {
			return err
		}
		if _, err := f.Write(make([]byte, 16<<10)); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		f.Close()
		if err := os.Rename(name+".new", name); err != nil {
			return err
		}
	}
}

func awaitReason(t *testing.T, d *Driver, id string, ok func(string) bool) string {
	t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for {
		s, err := d.Inspect(t.Context(), id)
		if err == nil && s.State == drivers.Running && ok(s.Reason) {
			return s.Reason
		}
		if s.State != drivers.Running || time.Now().After(deadline) {
			out, _ := exec.Command("df", "-k", d.dir(id)).CombinedOutput()
			t.Fatalf("state %s, reason %q, %v; %s", s.State, s.Reason, err, out)
		}
		time.Sleep(200 * time.Millisecond)
	}
}
