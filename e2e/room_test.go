//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/sys/unix"
)

// TestRenewalsOnAFullDisk lets another process take every byte of the shares' disk, again and
// again. Readers with the public key and without leeway may find no expired token, also over
// restarts of the gateway.
func TestRenewalsOnAFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a file system of its own needs root")
	}
	t.Parallel()
	for name, mount := range map[string]func(w *world, dir string){
		"tmpfs": func(w *world, dir string) { w.tmpfs(dir, "96m") },
		"ext4":  func(w *world, dir string) { w.ext4(dir, 96) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 0)
			mount(w, w.stateDir())
			w.fullDisk()
		})
	}
}

func (w *world) fullDisk() {
	w.Helper()
	shares := []string{w.start("box", "16s", "--ephemeral").Share}
	large := filepath.Join(w.home, "large")
	w.must(os.WriteFile(large, make([]byte, 200<<10), 0o600))
	for i := range 8 {
		shares = append(shares, w.makeShare(fmt.Sprint("own", i)))
	}
	w.run("share", "put", "own0", "large="+large)
	w.eventually("room is set aside", patience, func() bool { return w.reserved() >= 300 }) // a disk of 96 MiB allows no ten minutes for nine

	stop := w.hog(w.stateDir())
	for end, kill := time.Now().Add(40*time.Second), time.Now().Add(20*time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for _, dir := range shares {
			w.verifies(dir)
		}
		if time.Now().After(kill) {
			kill = end
			w.killGateway()
			w.run("ps")
		}
	}
	if generation := w.sandbox("box").Token.Generation; generation < 5 {
		w.Errorf("generation %d after 40 s on a full disk", generation)
	}
	r := w.try("ps")
	if !strings.Contains(r.stderr, "are free on the disk of "+w.stateDir()) {
		w.Errorf("ps does not warn: %q", r.stderr)
	}
	w.Logf("%s", strings.TrimSpace(r.stderr))
	if facts := w.run("doctor"); !strings.Contains(facts, "short of room") {
		w.Errorf("doctor: %s", facts)
	}
	w.run("stop", "-t", "0", "box") // its record is written
	if s := w.sandbox("box"); s.Desired != "stopped" {
		w.Errorf("a record on a full disk: %+v", s)
	}
	left := w.reserved()
	w.Logf("%d renewals are left in the reserve", left)
	stop()
	w.eventually("what was used is set aside again", patience, func() bool { return w.reserved() > left })
	if r := w.try("ps"); r.stderr != "" {
		w.Errorf("ps still says %q", r.stderr)
	}
}

// reserved returns for how many renewals room is set aside.
func (w *world) reserved() int {
	blanks, err := filepath.Glob(filepath.Join(w.stateDir(), "reserve", "blank-*"))
	w.must(err)
	return len(blanks)
}

// verifies reads a share's token as a resource server does.
func (w *world) verifies(auth string) {
	w.Helper()
	raw, err := os.ReadFile(filepath.Join(auth, "sandbox.jwt"))
	at := time.Now()
	if err == nil {
		_, err = jwt.Parse(strings.TrimSpace(string(raw)),
			func(t *jwt.Token) (any, error) {
				return publicKey(filepath.Join(w.stateDir(), "keys"), t.Header["kid"])
			},
			jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(0),
			jwt.WithTimeFunc(func() time.Time { return at }))
	}
	if err != nil {
		w.Errorf("%s at %s: %v", auth, at.Format(time.StampMilli), err)
	}
}

// hog is a process that fills a directory's disk to the last byte, and again whenever something
// becomes free. When it is stopped, all that it took is free again.
func (w *world) hog(dir string) (stop func()) {
	w.Helper()
	hogs := filepath.Join(dir, "hogs")
	w.must(os.Mkdir(hogs, 0o700))
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "sh", "-c", `while :; do cat /dev/zero >>"$0/all"; sleep 0.005; done 2>/dev/null`, hogs)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	w.must(cmd.Start())
	w.Cleanup(func() { cancel(); cmd.Wait() })
	w.eventually("the disk is full", patience, func() bool {
		var st unix.Statfs_t
		w.must(unix.Statfs(dir, &st))
		return st.Bavail == 0
	})
	return func() {
		cancel()
		cmd.Wait()
		w.must(os.RemoveAll(hogs))
	}
}

// ext4 mounts an ext4 of that many MiB for the world.
func (w *world) ext4(dir string, mib int64) {
	w.Helper()
	image := filepath.Join(w.home, filepath.Base(dir)+".image")
	w.must(os.WriteFile(image, nil, 0o600))
	w.must(os.Truncate(image, mib<<20))
	w.must(os.MkdirAll(dir, 0o700))
	for _, args := range [][]string{{"mkfs.ext4", "-q", "-F", "-m", "0", image}, {"mount", "-o", "loop", image, dir}} {
		cmd := exec.Command(args[0], args[1:]...)
		if out, err := cmd.CombinedOutput(); err != nil {
			w.Fatalf("%s: %v: %s", args[0], err, out)
		}
	}
	w.unmount = append(w.unmount, dir)
	w.must(os.Chmod(dir, 0o700))
}
