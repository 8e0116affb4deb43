package share

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"openshell-vm/share/blanks"
)

// TestReserve publishes on file systems without a free block or without a free inode.
func TestReserve(t *testing.T) { inMountNamespace(t, "reserve") }

// childHog takes all free room, for ever.
func childHog(args []string) error {
	for {
		hog(args[0], 1<<20)
		time.Sleep(time.Millisecond)
	}
}

// hog makes files of this size until there is no room for more.
func hog(dir string, size int) {
	page := bytes.Repeat([]byte("hog!"), 1024)
	for {
		f, err := os.CreateTemp(dir, "hog")
		if err != nil {
			return
		}
		n := 0
		for ; n < size && err == nil; n += len(page) {
			_, err = f.Write(page)
		}
		f.Close()
		if err != nil && n <= len(page) {
			os.Remove(f.Name())
		}
		if err != nil {
			return
		}
	}
}

func childReserve(args []string) error {
	keepMounts()
	for name, tc := range map[string]struct {
		hog   int
		mount func(dir string) error
	}{
		"tmpfs":  {1 << 20, func(dir string) error { return unix.Mount("share-test", dir, "tmpfs", 0, "size=8m") }},
		"inodes": {0, func(dir string) error { return unix.Mount("share-test", dir, "tmpfs", 0, "size=32m,nr_inodes=3000") }},
		"ext4":   {1 << 20, mountExt4},
	} {
		if err := tc.mount(args[0]); errors.Is(err, errors.ErrUnsupported) {
			fmt.Println(name, "was left out:", err)
			continue
		} else if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		err := reserveOn(args[0], tc.hog)
		err = errors.Join(err, unix.Unmount(args[0], unix.MNT_DETACH))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// mountExt4 needs root and the tools.
func mountExt4(dir string) error {
	image := dir + ".image"
	if os.Geteuid() != 0 {
		return errors.ErrUnsupported
	}
	for _, args := range [][]string{{"truncate", "-s", "48M", image}, {"mkfs.ext4", "-q", "-F", "-m", "0", image}, {"mount", "-o", "loop", image, dir}} {
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if errors.Is(err, exec.ErrNotFound) {
			return errors.ErrUnsupported
		} else if err != nil {
			return fmt.Errorf("%v: %w: %s", args, err, out)
		}
	}
	return nil
}

const (
	reservedShares = 5
	reservedEach   = 12
	reservedBlanks = reservedShares * reservedEach * 4 // a publish has four new files, and two directories
)

func reserveOn(dir string, size int) error {
	r, err := blanks.Open(filepath.Join(dir, "reserve"))
	if err == nil {
		err = r.Keep(reservedBlanks)
	}
	if err != nil {
		return err
	}
	large := bytes.Repeat([]byte("large"), 20_000)
	var shares []*Share
	publish := func(s *Share, round int) error {
		p, err := s.Publish(context.Background(), 0, func(n uint64) ([]File, error) {
			return []File{{Name: "token", Data: proven(n, "token")}, {Name: "metadata", Data: proven(n, "metadata")},
				{Name: "other", Data: proven(n, "other")}, {Name: "d/third", Data: proven(n, "third")}, {Name: "d/e/large", Data: large},
				{Name: "changes", Data: bytes.Repeat(proven(n, "changes"), 1000), Later: true}}, nil
		})
		if err != nil {
			return fmt.Errorf("round %d of %s: %w", round, s.Dir(), err)
		}
		now, err := Read(s.AuthDir())
		isNew := bytes.Equal(now.Files["changes"], bytes.Repeat(proven(p.Generation, "changes"), 1000))
		if isNew != (p.Held == "") || len(now.Files["changes"]) == 0 || size > 0 && round > 0 && isNew {
			return fmt.Errorf("round %d: %q are held, the file that may be published later has %.20q", round, p.Held, now.Files["changes"])
		}
		if err != nil || now.Generation != p.Generation || !bytes.Equal(now.Files["d/e/large"], large) || len(now.Files) != 6 ||
			!bytes.Equal(now.Files["token"], proven(p.Generation, "token")) || !bytes.Equal(now.Files["d/third"], proven(p.Generation, "third")) {
			return fmt.Errorf("round %d: a reader finds generation %d of %d, %v", round, now.Generation, p.Generation, err)
		}
		return nil
	}
	for i := range reservedShares {
		s, err := Create(filepath.Join(dir, fmt.Sprint("share", i)), Options{Reserve: r, Durable: true})
		if err == nil {
			err = publish(s, 0)
		}
		if err != nil {
			return err
		}
		shares = append(shares, s)
	}
	stop, err := fillUp(dir, size)
	if err != nil {
		return err
	}
	defer stop()
	for round := range reservedEach {
		for _, s := range shares {
			if err := publish(s, round+1); err != nil {
				return err
			}
		}
	}
	taken := reservedBlanks - r.Len()
	if taken < reservedBlanks/4 { // a directory needs one inode of a blank's seven, and frees the others
		return fmt.Errorf("only %d of %d publishes came out of the reserve: it was not tried", taken, reservedBlanks)
	}
	if f, err := r.File(filepath.Join(dir, "record"), blanks.Block); r.Len() > 0 || err == nil {
		if _, werr := f.Write(make([]byte, blanks.Block)); err != nil || werr != nil || f.Sync() != nil || f.Close() != nil {
			return fmt.Errorf("a record: %v, %v", err, werr)
		}
	}
	stop()
	return refills(dir, size, r, shares, publish)
}

// fillUp leaves no room for files of this size. For blocks, a process goes on taking
// whatever becomes free. For inodes there is none: it could take an inode that is free
// only for a moment.
func fillUp(dir string, size int) (stop func(), err error) {
	if size == 0 {
		hog(dir, 0)
		return func() {}, nil
	}
	p := exec.Command("/proc/self/exe", dir)
	p.Env = append(os.Environ(), childEnv+"=hog")
	if err := p.Start(); err != nil {
		return nil, err
	}
	return sync.OnceFunc(func() { p.Process.Kill(); p.Wait() }), awaitFull(dir)
}

// refills uses the reserve up and then frees the disk.
func refills(dir string, size int, r *blanks.Reserve, shares []*Share, publish func(*Share, int) error) error {
	for r.Len() > 0 {
		if err := r.Take(os.RemoveAll); err != nil {
			return err
		}
	}
	hog(dir, size)
	before, err := shares[0].Current()
	if err != nil {
		return err
	}
	if err := publish(shares[0], -1); !IsFull(err) {
		return fmt.Errorf("without a reserve: %v", err)
	}
	if now, err := shares[0].Current(); now != before || err != nil {
		return fmt.Errorf("without a reserve %d is current after %d, %v", now, before, err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "hog*"))
	for _, name := range names {
		err = errors.Join(err, os.Remove(name))
	}
	return errors.Join(err, r.Keep(reservedBlanks), publish(shares[0], -2))
}

// awaitFull returns once not even a small file fits.
func awaitFull(dir string) error {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil || st.Bavail == 0 {
			return err
		}
	}
	return errors.New("the disk does not become full")
}

// TestLabels checks the security label of a file that is moved into a share. It has to be
// the same as if the file had been created there.
func TestLabels(t *testing.T) {
	const name = "user.label"
	dir := t.TempDir()
	from, err := os.Create(filepath.Join(dir, "from"))
	if err != nil {
		t.Fatal(err)
	}
	to, err := os.Create(filepath.Join(dir, "to"))
	if err != nil {
		t.Fatal(err)
	}
	fds := []int{int(from.Fd()), int(to.Fd())}
	if err := copyLabel(fds[0], fds[1], name); err != nil {
		t.Errorf("no label: %v", err)
	}
	if err := unix.Fsetxattr(fds[0], name, []byte("a:b:c"), 0); err != nil {
		need(t, "a file system with extended attributes: "+err.Error())
	}
	for range 2 {
		if err := copyLabel(fds[0], fds[1], name); err != nil {
			t.Fatal(err)
		}
	}
	var label [64]byte
	if n, err := unix.Fgetxattr(fds[1], name, label[:]); err != nil || string(label[:n]) != "a:b:c" {
		t.Errorf("%q, %v", label[:max(n, 0)], err)
	}
}
