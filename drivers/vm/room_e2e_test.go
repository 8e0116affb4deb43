//go:build e2e

package vm

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"openshell-vm/drivers"
)

// smallDisk mounts an ext4 of this size.
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

// TestAGuestDoesNotFillTheDisk has a guest write as much as it can while the host
// replaces a small file over and over, as renewals do.
func TestAGuestDoesNotFillTheDisk(t *testing.T) {
	dir := smallDisk(t, 384)
	d, spec := place(t)
	d.cfg.SandboxesDir = filepath.Join(dir, "sandboxes")
	spec.Dir = filepath.Join(d.cfg.SandboxesDir, spec.ID)
	spec.VM.Disk = 1 << 30 // more than there is
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 200<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	spec = up(t, d, spec, "while :; do cat /bin/busybox /bin/busybox /bin/busybox; done >/fill 2>/dev/null")

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	renewing, stop := context.WithCancel(ctx)
	var renewals sync.WaitGroup
	var failed error
	renewals.Go(func() { failed = renew(renewing, dir) })
	t.Cleanup(func() { stop(); renewals.Wait() }) // before the file system goes
	reason := awaitReason(t, d, spec.ID, func(r string) bool { return strings.HasPrefix(r, "frozen: ") })
	t.Logf("the guest is %s", reason)
	var stderr bytes.Buffer
	if _, err := d.Exec(ctx, spec.ID, drivers.Process{Args: []string{"true"}}, drivers.Streams{Stderr: &stderr}); err == nil ||
		!strings.Contains(err.Error(), "frozen: ") {
		t.Errorf("exec: %v, %s", err, &stderr)
	}
	time.Sleep(3 * time.Second) // the renewals go on
	stop()
	renewals.Wait()
	left, err := exec.Command("df", "-k", dir).CombinedOutput()
	t.Logf("%s%v", left, err)
	if failed != nil {
		t.Errorf("a renewal: %v", failed)
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

// renew replaces a small file over and over and returns the first error.
func renew(ctx context.Context, dir string) error {
	name := filepath.Join(dir, "token")
	for ctx.Err() == nil {
		if err := writeSynced(name+".new", make([]byte, 16<<10)); err != nil {
			return err
		}
		if err := os.Rename(name+".new", name); err != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

func writeSynced(name string, data []byte) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
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
